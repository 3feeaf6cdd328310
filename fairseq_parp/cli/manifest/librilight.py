"""``fairseq-parp manifest librilight``: manifests of Libri-light's labelled splits."""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_parp.cli.manifest.dictionary import add_option, read_option
from fairseq_parp.cli.manifest.show import tell_official
from fairseq_parp.cli.outputs import OutputFolder
from fairseq_parp.manifests.corpora.librilight import FOLDERS, write_librilight


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument(
        "root", metavar="ROOT", type=Path, help="librispeech_finetuning or LibriSpeech, or the folder that holds it"
    )
    parser.add_argument("--out", metavar="DIR", type=OutputFolder, required=True, help="folder to write to")
    parser.add_argument(
        "--subset",
        choices=FOLDERS,
        help="write this subset, as train (default: all, as train_10min_0 to train_10h); "
        "the ids in each of the folds 1 to 5 are unconfirmed",
    )
    add_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the manifests of Libri-light."""
    kept = read_option(arguments.dictionary)
    written = write_librilight(arguments.root, arguments.out, subset=arguments.subset, symbols=kept)
    tell_official(written, arguments.out)
    return 0
