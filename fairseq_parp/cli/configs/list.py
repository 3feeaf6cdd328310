"""``fairseq-parp configs list``: name and first comment line of every shipped YAML."""

from __future__ import annotations

import argparse

from fairseq_parp.environment.paths import configs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments: none."""


def run(_arguments: argparse.Namespace) -> int:
    """Print the list; the folder comes first."""
    files = sorted(configs().rglob("*.yaml"))
    names = [str(file.relative_to(configs()).with_suffix("")) for file in files]
    width = max(map(len, names))
    print(configs())
    for name, file in sorted(zip(names, files, strict=True), key=lambda named: ("/" in named[0], named[0])):
        print(f"  {name:{width}}  {file.read_text(encoding='utf-8').splitlines()[0].lstrip('# ')}")
    return 0
