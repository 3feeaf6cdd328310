"""``fairseq-parp configs show``: a shipped YAML as it is."""

from __future__ import annotations

import argparse

from fairseq_parp.commands.front import recipe
from fairseq_parp.environment.paths import configs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument("name", metavar="NAME", help="such as base_10m; fairseq-parp configs list shows all")


def run(arguments: argparse.Namespace) -> int:
    """Print the file."""
    print(recipe(arguments.name, configs(), "NAME").read_text(encoding="utf-8"), end="")
    return 0
