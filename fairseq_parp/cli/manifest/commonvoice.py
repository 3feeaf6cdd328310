"""``fairseq-parp manifest commonvoice``: manifests of one hour of each of ten languages."""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_parp.cli.manifest.dictionary import add_option, read_option
from fairseq_parp.cli.manifest.show import tell_official
from fairseq_parp.cli.outputs import OutputFolder
from fairseq_parp.manifests.corpora.commonvoice import LANGUAGES, write_commonvoice


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument("root", metavar="ROOT", type=Path, help="folder of the language, or of all languages' folders")
    parser.add_argument(
        "--splits", metavar="DIR", type=Path, required=True, help="common_voices_splits, a folder per language"
    )
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--language", metavar="L", help=f"one of {' '.join(LANGUAGES)}")
    chosen.add_argument("--joint", action="store_true", help="all ten languages together, with one dictionary")
    parser.add_argument("--out", metavar="DIR", type=OutputFolder, required=True, help="folder to write to")
    parser.add_argument(
        "--audio",
        metavar="DIR",
        type=OutputFolder,
        help="folder for the FLACs; several commands may share it (OUT/audio)",
    )
    parser.add_argument(
        "--processes", metavar="N", type=int, help="number of processes that convert audio (default: one per core)"
    )
    add_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Convert the clips of Common Voice and write its manifests."""
    written = write_commonvoice(
        arguments.root,
        arguments.splits,
        arguments.out,
        languages=tuple(LANGUAGES) if arguments.joint else (arguments.language,),
        audio=arguments.audio,
        processes=arguments.processes,
        symbols=read_option(arguments.dictionary),
    )
    tell_official(written, arguments.out)
    return 0
