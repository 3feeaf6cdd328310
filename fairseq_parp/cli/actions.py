"""Verbs that have a second word, such as ``fairseq-parp mask make``.

Such a verb is a package with one module per action, of the same name; each has ``add_arguments(parser)`` and
``run(arguments) -> int`` (the exit status).
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping
from types import ModuleType


def add_actions(parser: argparse.ArgumentParser, package: str, summaries: Mapping[str, str]) -> None:
    """Declare the actions and their arguments; the one that was given is then ``arguments.action``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, summary in summaries.items():
        action(package, name).add_arguments(actions.add_parser(name, help=summary, description=summary))


def action(package: str, name: str) -> ModuleType:
    """Return the module of an action."""
    return importlib.import_module(f"{package}.{name}")
