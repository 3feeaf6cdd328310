"""``fairseq-parp manifest table``: manifests from a table of transcripts."""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_parp.cli.manifest.dictionary import add_option, read_option
from fairseq_parp.cli.manifest.show import tell, warn
from fairseq_parp.errors import listing
from fairseq_parp.manifests.labelling import LABELLERS
from fairseq_parp.manifests.table import write_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument(
        "transcripts", metavar="TRANSCRIPTS.tsv", type=Path, help="columns path, text, optionally split, speaker"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to write to")
    parser.add_argument("--labels", choices=sorted(LABELLERS), default="ltr", help="letters of the text, or phones")
    parser.add_argument(
        "--root", metavar="DIR", type=Path, help="what paths are relative to (default: the table's folder)"
    )
    parser.add_argument(
        "--valid-speakers", metavar="N", type=int, default=0, help="move N random speakers from train to valid"
    )
    parser.add_argument("--minutes", metavar="M", type=float, help="keep at most M random minutes of train")
    parser.add_argument("--seed", metavar="S", type=int, default=1, help="of the random choices (default: 1)")
    add_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the manifests of a table."""
    written = write_table(
        arguments.transcripts,
        arguments.out,
        labels=arguments.labels,
        root=arguments.root,
        valid_speakers=arguments.valid_speakers,
        minutes=arguments.minutes,
        seed=arguments.seed,
        symbols=read_option(arguments.dictionary),
    )
    tell(written, arguments.out)
    if written.valid_speakers:
        print(f"speakers moved from train to valid: {' '.join(written.valid_speakers)}")
    if written.unused:
        print(f"columns not used: {listing(written.unused)}")
    if written.untrained:
        warn([f"never in train, so no model can learn them: {listing(map(repr, written.untrained))}"])
    return 0
