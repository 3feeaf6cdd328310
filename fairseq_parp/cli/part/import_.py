"""``fairseq-parp part import``: a language adapter of MMS as a part."""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_parp.cli.outputs import OutputFile
from fairseq_parp.cli.part.show import render
from fairseq_parp.errors import absolute


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument("base", metavar="BASE", type=Path, help="checkpoint that fairseq-parp import made of the model")
    parser.add_argument("adapter", metavar="ADAPTER", type=Path, help="adapter.LANGUAGE.safetensors")
    parser.add_argument("--vocab", metavar="JSON", type=Path, required=True, help="the model's vocab.json")
    parser.add_argument("--language", metavar="NAME", required=True, help="name of the language in vocab.json")
    parser.add_argument("-o", "--out", metavar="FILE", type=OutputFile, required=True, help="part to write")


def run(arguments: argparse.Namespace) -> int:
    """Write the part, and show it."""
    from fairseq_parp.parts.mms import import_adapter

    part = import_adapter(arguments.base, arguments.adapter, arguments.vocab, arguments.language, arguments.out)
    print(f"{render(part)}\nwritten to {absolute(arguments.out)}: {arguments.out.stat().st_size:,} bytes")
    return 0
