"""Verbs that have a second word, such as ``fairseq-parp mask make``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Action(NamedTuple):
    """A second word: its summary, its arguments, and what runs it (returns the exit status)."""

    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def add_actions(parser: argparse.ArgumentParser, actions: Mapping[str, Action]) -> None:
    """Declare the actions and their arguments; the one that was given is then ``arguments.action``."""
    added = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, action in actions.items():
        action.add_arguments(added.add_parser(name, help=action.summary, description=action.summary))
