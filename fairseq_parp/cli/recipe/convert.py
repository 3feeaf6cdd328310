"""``fairseq-parp recipe convert``: a stock finetuning recipe of fairseq as one that prunes."""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_parp.cli.outputs import OutputFile
from fairseq_parp.commands.recipes import convert
from fairseq_parp.errors import ConfigError, absolute
from fairseq_parp.files import write_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument("recipe", metavar="THEIRS.yaml", type=Path, help="finetuning recipe for fairseq-hydra-train")
    parser.add_argument("-o", "--out", metavar="OURS.yaml", type=OutputFile, required=True, help="file to write")


def run(arguments: argparse.Namespace) -> int:
    """Write the recipe, and print each change with its reason."""
    out: Path = arguments.out
    if out.suffix != ".yaml" or out.exists():
        reason = "exists already; name another file" if out.exists() else "must end in .yaml, or hydra does not find it"
        raise ConfigError("--out", absolute(out), reason)
    text, changes = convert(arguments.recipe, f"outputs/{out.stem}")
    write_whole(out, text.encode())
    print("\n".join(map(str, changes)))
    print(f"written to {absolute(out)}")
    print(f"to train: fairseq-parp train --config-dir {out.absolute().parent} --config-name {out.stem}")
    return 0
