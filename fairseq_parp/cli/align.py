"""``fairseq-parp align``: an item file for ``fairseq-parp abx`` from a manifest and a finetuned model."""

from __future__ import annotations

import argparse
from functools import partial

from tqdm import tqdm

from fairseq_parp.cli.outputs import OutputFile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint finetuned on the same labels")
    parser.add_argument("data", metavar="DATA", help="folder with SPLIT.tsv and SPLIT.ltr")
    parser.add_argument("--split", default="test", help="name of the split (default: test)")
    parser.add_argument("--labels", default="ltr", help="kind of labels: ltr (default) or phn")
    parser.add_argument(
        "--speaker", metavar="REGEX", required=True,
        help="expression whose group is the speaker in a path of the tsv: '^([0-9]+)/' for LibriSpeech's folders",
    )  # fmt: skip
    parser.add_argument("-o", "--out", metavar="FILE", type=OutputFile, required=True, help="the item file to write")


def run(arguments: argparse.Namespace) -> int:
    """Write the items, and print how good the alignment can be taken to be."""
    from fairseq_parp.abx.alignment import align
    from fairseq_parp.manifests.items import write_items

    found = align(
        arguments.checkpoint, arguments.data, arguments.split, arguments.labels, arguments.speaker,
        partial(tqdm, unit="utterance", disable=None),
    )  # fmt: skip
    write_items(arguments.out, found.items)
    speakers = len({item.speaker for item in found.items})
    print(f"{arguments.out}: {len(found.items):,} tokens of {speakers:,} speakers")
    print(f"the model's greedy UER on these utterances is {found.uer:.2f} %;", end=" ")
    print(f"where it places a label, the label's mean probability is {found.confidence:.3f}")
    if found.skipped:
        print(f"left out: {found.skipped:,} utterances with more labels than frames")
    return 0
