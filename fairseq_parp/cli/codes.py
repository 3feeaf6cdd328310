"""``fairseq-parp codes``: how speech and pictures use the codes of a shared codebook."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from fairseq_parp.errors import absolute
from fairseq_parp.tables import table

if TYPE_CHECKING:
    from fairseq_parp.retrieval.codes import CodesFound


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint of grounded_pretraining with model.codes")
    parser.add_argument("--data", metavar="DIR", required=True, help="data folder with SPLIT.tsv and SPLIT.img")
    parser.add_argument("--split", metavar="NAME", default="test", help="split of --data (default: test)")
    parser.add_argument("--images", metavar="FILE", help="features of the pictures (default: DIR/images.safetensors)")
    parser.add_argument("--plot", metavar="PNG", help="also draw each code's uses by both modalities")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Print the use of the codes, and recall by codes alone."""
    from fairseq_parp.retrieval.codes import draw, measure_codes
    from fairseq_parp.retrieval.embedding import embed_split
    from fairseq_parp.retrieval.loading import load_grounded

    grounded = load_grounded(arguments.checkpoint)
    found = measure_codes(embed_split(grounded, arguments.data, arguments.split, arguments.images), grounded.path)
    if arguments.plot:
        draw(found, arguments.plot)
    print(_as_json(found) if arguments.json else _render(found))
    if arguments.plot and not arguments.json:
        print(f"written: {absolute(arguments.plot)}")
    return 0


def _render(found: CodesFound) -> str:
    from fairseq_parp.retrieval.results import WAYS

    use = found.use
    rows = [
        ("speech", str(use.audio), f"{use.audio_perplexity:.1f}"),
        ("pictures", str(use.image), f"{use.image_perplexity:.1f}"),
    ]
    cells = [
        (WAYS[each.way], f"R@{each.k}", f"{each.value:.1f}", f"{each.low:.1f} to {each.high:.1f}", f"{each.chance:.2f}")
        for each in found.recall
    ]
    return "\n".join(
        [
            f"{len(found.audio)} codes, {use.used} used; {use.shared} shared, with {use.shared_uses:.1f} % of the uses",
            f"Jensen-Shannon divergence of both modalities' uses: {use.divergence:.3f} bits (0 alike, 1 apart)",
            "",
            *table(["modality", "codes used", "perplexity"], rows),
            "",
            *table(["by codes alone", "recall", "%", "95 % interval", "chance, %"], cells),
        ]
    )


def _as_json(found: CodesFound) -> str:
    uses = {"audio": found.audio.tolist(), "image": found.image.tolist()}
    recall = [each._asdict() for each in found.recall]
    return json.dumps({"codes": len(found.audio)} | found.use._asdict() | {"uses": uses, "recall": recall})
