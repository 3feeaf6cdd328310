"""``fairseq-parp completion``: a script with which a shell completes verbs, actions, options, choices and files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from fairseq_parp.cli.actions import Action

SHELLS = ("bash", "zsh", "tcsh")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("shell", choices=SHELLS, help="shell that reads the script")


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from fairseq_parp.cli import VERBS, command_parser

    parser = command_parser(VERBS)
    for each in _parsers(parser):
        _offer_files(each)
    print(shtab.complete(parser, arguments.shell))
    return 0


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser and those of its verbs and actions, with their arguments declared."""
    if isinstance(parser, Action):
        parser.declare()
    yield parser
    for each in parser._actions:
        if isinstance(each, argparse._SubParsersAction):
            for below in each.choices.values():
                yield from _parsers(below)


def _offer_files(parser: argparse.ArgumentParser) -> None:
    """Let the shell offer files for every value that is neither a number nor one of a few words."""
    import shtab

    for each in parser._actions:
        if each.nargs != 0 and each.choices is None and each.type not in (int, float):
            each.complete = shtab.FILE  # type: ignore[attr-defined]
