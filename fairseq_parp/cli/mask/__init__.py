"""``fairseq-parp mask``: masks as objects. One module per action, of the same name."""

from __future__ import annotations

import argparse

from fairseq_parp.cli.actions import action, add_actions

ACTIONS = {
    "apply": "write a checkpoint with a mask's zeros",
    "make": "make a mask for the model in a checkpoint",
    "overlap": "compare masks by IOU (intersection over union), beside chance: overall, per layer, per kind of module",
    "show": "print the sparsity of a mask: overall, per layer, per kind of module",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    add_actions(parser, __name__, ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Run one action."""
    return int(action(__name__, arguments.action).run(arguments))
