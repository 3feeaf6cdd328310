"""``fairseq-parp retrieve``: recall between spoken captions and pictures, over a whole split."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from fairseq_parp.cli.outputs import OutputFile, OutputPicture
from fairseq_parp.errors import ConfigError, absolute
from fairseq_parp.files import write_whole
from fairseq_parp.tables import table

if TYPE_CHECKING:
    from fairseq_parp.retrieval.embedding import Embedded
    from fairseq_parp.retrieval.results import Recall


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint of the task grounded_pretraining")
    parser.add_argument("--data", metavar="DIR", required=True, help="data folder with SPLIT.tsv and SPLIT.img")
    parser.add_argument("--split", metavar="NAME", default="test", help="split of --data (default: test)")
    parser.add_argument("--images", metavar="FILE", help="features of the pictures (default: DIR/images.safetensors)")
    parser.add_argument(
        "--rankings", metavar="TSV", type=OutputFile, help="also write rank and first five items of queries"
    )
    parser.add_argument(
        "--sheet", metavar="PNG", type=OutputPicture, help="also draw captions and the pictures ranked first"
    )
    parser.add_argument("--pictures", metavar="DIR", help="for --sheet: folder with a picture file at each id")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Print recall at 1, 5 and 10 both ways, with intervals."""
    if bool(arguments.sheet) != bool(arguments.pictures):
        given, missing = ("sheet", "--pictures DIR") if arguments.sheet else ("pictures", "--sheet PNG")
        raise ConfigError(f"--{given}", getattr(arguments, given), f"needs {missing} beside it")
    from fairseq_parp.retrieval.embedding import embed_split
    from fairseq_parp.retrieval.loading import load_grounded
    from fairseq_parp.retrieval.results import as_table, measure, rankings

    grounded = load_grounded(arguments.checkpoint)
    embedded = embed_split(grounded, arguments.data, arguments.split, arguments.images, arguments.pictures)
    found, measured = measure(embedded)
    print(_as_json(embedded, measured) if arguments.json else _render(embedded, measured, grounded.model.shown))
    if arguments.rankings:
        write_whole(arguments.rankings, as_table(rankings(embedded, found)).encode())
    if arguments.sheet:
        from fairseq_parp.retrieval.sheet import draw_sheet

        draw_sheet(embedded, found, arguments.pictures, arguments.sheet)
    for written in filter(None, (arguments.rankings, arguments.sheet) if not arguments.json else ()):
        print(f"written: {absolute(written)}")
    return 0


def _render(embedded: Embedded, measured: list[Recall], captions: str) -> str:
    from fairseq_parp.retrieval.results import ways

    shown = ways(captions)

    cells = [
        (
            shown[each.way],
            f"R@{each.k}",
            f"{each.value:.1f}",
            f"{each.low:.1f} to {each.high:.1f}",
            f"{each.chance:.2f}",
        )
        for each in measured
    ]
    heads = ["direction", "recall", "%", "95 % interval", "chance, %"]
    return "\n".join([f"{len(embedded.captions)} captions, {len(embedded.images)} pictures", "", *table(heads, cells)])


def _as_json(embedded: Embedded, measured: list[Recall]) -> str:
    sizes = {"captions": len(embedded.captions), "images": len(embedded.images)}
    return json.dumps(sizes | {"recall": [each._asdict() for each in measured]})
