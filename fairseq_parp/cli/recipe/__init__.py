"""``fairseq-parp recipe``: own recipes. One module per action, of the same name."""

from __future__ import annotations

import argparse

from fairseq_parp.cli.actions import action, add_actions

ACTIONS = {"convert": "convert a finetuning recipe of fairseq to one that prunes, and print each change"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    add_actions(parser, __name__, ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Run one action."""
    return int(action(__name__, arguments.action).run(arguments))
