"""``fairseq-parp manifest table``: manifests from a user's own corpus."""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_parp.cli.manifest.dictionary import add_option, read_option
from fairseq_parp.cli.manifest.show import tell, warn
from fairseq_parp.cli.outputs import OutputFolder
from fairseq_parp.errors import absolute, listing
from fairseq_parp.manifests.choosing import Speakers
from fairseq_parp.manifests.labelling import SPELT
from fairseq_parp.manifests.table import write_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument(
        "transcripts",
        metavar="CORPUS",
        type=Path,
        help="table (.tsv, .csv) with the columns path and text, optionally split, speaker, start, end, image; or a "
        "folder: Kaldi's, with metadata.csv, or audio and .txt files side by side",
    )
    parser.add_argument("--out", metavar="DIR", type=OutputFolder, required=True, help="folder to write to")
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument("--labels", choices=SPELT, default="ltr", help="letters of the text, or phones")
    labels.add_argument(
        "--label", metavar="COLUMN", help="for classification: the column with each utterance's one label"
    )
    parser.add_argument("--graphemes", action="store_true", help="a letter and its combining marks are one label")
    parser.add_argument(
        "--root", metavar="DIR", type=Path, help="folder that paths are relative to (default: CORPUS's folder)"
    )
    parser.add_argument(
        "--audio",
        metavar="DIR",
        type=OutputFolder,
        help="cut and convert all audio (any rate, channels, mp3) to 16 kHz mono FLACs in this folder",
    )
    parser.add_argument(
        "--processes", metavar="N", type=int, help="number of processes that convert audio (default: one per core)"
    )
    for split in ("valid", "test"):
        group = parser.add_mutually_exclusive_group()
        group.add_argument(
            f"--{split}-speakers",
            metavar="A,B",
            type=_speakers,
            default=0,
            help=f"move these speakers from train to {split}; a number N takes N random speakers",
        )
        minutes = f"move at most M random minutes from train to {split}"
        group.add_argument(f"--{split}-minutes", metavar="M", type=float, help=minutes)
    parser.add_argument("--minutes", metavar="M", type=float, help="keep at most M random minutes of train")
    parser.add_argument("--seed", metavar="S", type=int, default=1, help="seed of the random choices (default: 1)")
    add_option(parser)


def _speakers(text: str) -> Speakers:
    """Return a number of speakers, or their names; a comma makes a name of a number."""
    return int(text) if text.removeprefix("-").isdigit() else [name.strip() for name in text.split(",") if name.strip()]


def run(arguments: argparse.Namespace) -> int:
    """Write the manifests of a corpus."""
    written = write_table(
        arguments.transcripts,
        arguments.out,
        labels=arguments.labels,
        label=arguments.label,
        root=arguments.root,
        valid_speakers=arguments.valid_speakers,
        test_speakers=arguments.test_speakers,
        valid_minutes=arguments.valid_minutes,
        test_minutes=arguments.test_minutes,
        minutes=arguments.minutes,
        seed=arguments.seed,
        symbols=read_option(arguments.dictionary),
        together=arguments.graphemes,
        audio=arguments.audio,
        processes=arguments.processes,
    )
    if arguments.audio:
        print(f"converted into {absolute(arguments.audio)}: {', '.join(written.conversion)}")
    tell(written, arguments.out)
    for split, speakers in written.moved.items():
        print(f"speakers moved from train to {split}: {' '.join(speakers)}")
    if written.renamed:
        print(f"columns read as others: {listing(written.renamed)}")
    if written.unused:
        print(f"columns not used: {listing(written.unused)}")
    if written.untrained:
        warn([f"never in train, so no model can learn them: {listing(map(repr, written.untrained))}"])
    warn(written.warnings)
    return 0
