"""``fairseq-parp export``: a checkpoint as stock fairseq or Hugging Face transformers keeps it."""

from __future__ import annotations

import argparse
import sys
import time

from fairseq_parp.cli.outputs import OutputFolder
from fairseq_parp.export.targets import TARGETS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("checkpoint", metavar="CKPT", help="fairseq checkpoint, finetuned or pretrained")
    targets = "; ".join(f"{name}: {target.summary}" for name, target in TARGETS.items())
    parser.add_argument("--to", metavar="TARGET", required=True, help=targets)
    parser.add_argument("-o", "--out", metavar="FOLDER", type=OutputFolder, required=True, help="folder to write")
    parser.add_argument(
        "--audio", metavar="FILE", nargs="+", default=[],
        help="recordings to compare export and checkpoint on (default: three sentences of the demo's voice)",
    )  # fmt: skip
    parser.add_argument(
        "--results", metavar="FILE", nargs="+", default=[],
        help="generate-SUBSET.txt of fairseq-generate for CKPT: the model card gets its UER and WER",
    )  # fmt: skip
    parser.add_argument("--fp16", action="store_true", help="store half precision (only compact)")
    parser.add_argument("--force", action="store_true", help="replace an existing folder")


def run(arguments: argparse.Namespace) -> int:
    """Export, and print the results of the comparisons."""
    from fairseq_parp.export.exporting import export  # fairseq takes seconds to import

    start = time.monotonic()

    def progress(step: str) -> None:
        print(f"{time.monotonic() - start:.0f} s: {step} ...", file=sys.stderr, flush=True)

    done = export(
        arguments.checkpoint, arguments.to, arguments.out, arguments.audio,
        results=arguments.results, force=arguments.force, fp16=arguments.fp16, progress=progress,
    )  # fmt: skip
    for name, difference in done.differences.items():
        print(f"{name}: largest difference of outputs {difference:.2g}")
    print(f"zeros: {done.zeros} before and after")
    for line in done.lost:
        print(f"not in the export: {line}")
    print(f"written: {done.folder}")
    return 0
