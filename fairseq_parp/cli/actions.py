"""Verbs with actions, such as ``fairseq-parp mask make``.

Such a verb is a package with one module per action, of the same name; each has ``add_arguments(parser)`` and
``run(arguments) -> int`` (the exit status).
"""

from __future__ import annotations

import argparse
import importlib
import keyword
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from fairseq_parp.cli.examples import example


class Action(argparse.ArgumentParser):
    """The parser of an action, whose module is imported only when the action is parsed."""

    package = ""

    def declare(self) -> None:
        """Declare the action's arguments."""
        action(self.package, self.prog.rpartition(" ")[2]).add_arguments(self)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Declare the action's arguments, then parse."""
        self.declare()
        return super().parse_known_args(args, namespace)


def add_actions(parser: argparse.ArgumentParser, package: str, summaries: Mapping[str, str]) -> None:
    """Declare the actions; ``arguments.action`` is then the given one."""
    verb = package.rpartition(".")[2]
    parser.epilog = f"fairseq-parp {verb} ACTION --help has the arguments of an action and an example"
    of_package = type("Action", (Action,), {"package": package})
    actions: argparse._SubParsersAction[Action] = parser.add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=of_package
    )
    for name, summary in summaries.items():
        actions.add_parser(name, help=summary, description=summary, epilog=example(f"{verb} {name}"))


def action(package: str, name: str) -> ModuleType:
    """Return the module of an action; that of ``import``, a keyword of Python, ends in an underscore."""
    return importlib.import_module(f"{package}.{name}{'_' * keyword.iskeyword(name)}")
