"""``fairseq-parp manifest text``: binarised text with labels, or without for pretraining, from tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_parp.cli.manifest.show import warn
from fairseq_parp.cli.outputs import OutputFolder
from fairseq_parp.errors import absolute, listing
from fairseq_parp.manifests.cautions import of_classes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument(
        "train",
        metavar="TRAIN",
        type=Path,
        help="tab-separated table with the columns text, label and, for pairs, text2; without labels it is binarised "
        "for the pretraining (masked_lm)",
    )
    parser.add_argument("--valid", metavar="TABLE", type=Path, required=True, help="table to validate on")
    parser.add_argument("--test", metavar="TABLE", type=Path, help="table to test on; it may lack the labels")
    parser.add_argument("--out", metavar="DIR", type=OutputFolder, required=True, help="new folder to write")
    parser.add_argument("--text", metavar="COLUMN", nargs="+", help="names of the one or two columns of text")
    parser.add_argument("--label", metavar="COLUMN", help="name of the column of labels")
    parser.add_argument(
        "--tokenizer",
        metavar="DIR",
        type=Path,
        help="folder with GPT-2's encoder.json and vocab.bpe, and dict.txt (default: a tokenizer is trained on TRAIN)",
    )
    parser.add_argument(
        "--vocabulary",
        metavar="N",
        type=int,
        default=8000,
        help="largest number of tokens of a trained tokenizer (default: 8000)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Binarise the tables."""
    from fairseq_parp.text.table import read_table  # here, so that --help needs no torch
    from fairseq_parp.text.writing import write_folder

    files = {"train": arguments.train, "valid": arguments.valid, "test": arguments.test}
    columns = (arguments.text, arguments.label)
    tables = {split: read_table(file, *columns) for split, file in files.items() if file is not None}
    written = write_folder(tables, arguments.out, arguments.tokenizer, arguments.vocabulary)
    for split, examples in written.splits.items():
        print(f"{split}: {examples} examples, the longest has {written.longest[split]} tokens")
    print(f"{written.tokens} tokens in the dictionary")
    if written.labels:
        majority = max(written.labels.values()) / sum(written.labels.values())
        print(f"labels: {listing((f'{name} {count}' for name, count in written.labels.items()), most=20)}")
        print(f"always the most frequent one: {100 * majority:.1f} % of train")
    print(f"written to {absolute(arguments.out)}")
    warn(of_classes(written.labels))
    return 0
