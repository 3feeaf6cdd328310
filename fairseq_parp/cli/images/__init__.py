"""``fairseq-parp images``: features of pictures for grounded training. One module per action, of the same name."""

from __future__ import annotations

import argparse

from fairseq_parp.cli.actions import action, add_actions

ACTIONS = {
    "digits": "draw pictures of handwritten digits for a corpus of spoken ones",
    "embed": "compute features of the pictures of a folder, with EfficientNet-Lite0",
    "import": "write features from the array of another image encoder",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    add_actions(parser, __name__, ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Run one action."""
    return int(action(__name__, arguments.action).run(arguments))
