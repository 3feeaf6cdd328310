"""``fairseq-parp manifest librispeech``: manifests of LibriSpeech's subsets."""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_parp.cli.manifest.dictionary import add_option, read_option
from fairseq_parp.cli.manifest.show import tell_official
from fairseq_parp.cli.outputs import OutputFolder
from fairseq_parp.manifests.corpora.librispeech import SUBSETS, write_librispeech


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument("root", metavar="ROOT", type=Path, help="LibriSpeech, or the folder that holds it")
    parser.add_argument("--out", metavar="DIR", type=OutputFolder, required=True, help="folder to write to")
    parser.add_argument(
        "--subsets", metavar="SUBSET", nargs="+", choices=SUBSETS, help="such as dev-other (default: all in ROOT)"
    )
    add_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the manifests of LibriSpeech."""
    kept = read_option(arguments.dictionary)
    written = write_librispeech(arguments.root, arguments.out, subsets=arguments.subsets, symbols=kept)
    tell_official(written, arguments.out)
    absent = [subset for subset in SUBSETS if subset not in (*written.checked, *written.unchecked)]
    if absent and not arguments.subsets:
        print(f"not there: {' '.join(absent)}")
    return 0
