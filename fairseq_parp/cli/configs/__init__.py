"""``fairseq-parp configs``: the shipped recipes and experiments. One module per action, of the same name."""

from __future__ import annotations

import argparse

from fairseq_parp.cli.actions import action, add_actions

ACTIONS = {
    "copy": "copy a recipe, to change it",
    "list": "list the shipped recipes and experiments, and their folder",
    "show": "print a recipe",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    add_actions(parser, __name__, ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Run one action."""
    return int(action(__name__, arguments.action).run(arguments))
