"""``fairseq-parp configs copy``: a shipped YAML as one's own file, which works from any folder."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from fairseq_parp.cli.outputs import OutputFile
from fairseq_parp.commands.front import recipe
from fairseq_parp.environment.paths import PLUGIN, configs
from fairseq_parp.errors import ConfigError, absolute
from fairseq_parp.files import write_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument("name", metavar="NAME", help="such as base_10m; fairseq-parp configs list shows all")
    parser.add_argument("-o", "--out", metavar="FILE", type=OutputFile, help="file to write (default: NAME.yaml)")


def run(arguments: argparse.Namespace) -> int:
    """Copy the file, with the absolute path of the plugin in it."""
    source = recipe(arguments.name, configs(), "NAME")
    out = arguments.out or Path(source.name)
    if out.exists():
        raise ConfigError("--out", absolute(out), "exists already; name another file")
    text = re.sub(
        r"^( +user_dir:).*$", lambda key: f"{key[1]} {json.dumps(str(PLUGIN))}", source.read_text("utf-8"), flags=re.M
    )
    write_whole(out, text.encode())
    print(f"written to {absolute(out)}")
    if source.parent == configs():
        print(f"to train: fairseq-parp train --config-dir {out.absolute().parent} --config-name {out.stem}")
    return 0
