"""``fairseq-parp codes``: uses of a shared codebook by captions and pictures; words and objects of its codes."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from fairseq_parp.cli.outputs import OutputPicture
from fairseq_parp.errors import ConfigError, absolute
from fairseq_parp.tables import table

if TYPE_CHECKING:
    from fairseq_parp.grounded.purity import CodeLabels
    from fairseq_parp.retrieval.codes import CodesFound
    from fairseq_parp.retrieval.loading import Grounded


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint of grounded_pretraining with model.codes")
    parser.add_argument("--data", metavar="DIR", required=True, help="data folder with SPLIT.tsv and SPLIT.img")
    parser.add_argument("--split", metavar="NAME", default="test", help="split of --data (default: test)")
    parser.add_argument("--images", metavar="FILE", help="features of the pictures (default: DIR/images.safetensors)")
    parser.add_argument("--alignment", metavar="FILE", help="times of spoken words (item or CTM): also print words")
    parser.add_argument("--objects", metavar="TSV", help="image, object, left, top, right, bottom: also print objects")
    parser.add_argument("--code", metavar="N", type=int, help="list the words and objects of one code instead")
    parser.add_argument(
        "--plot", metavar="PNG", type=OutputPicture, help="also draw the uses, or with --code words and pictures"
    )
    parser.add_argument("--pictures", metavar="DIR", help="for --code with --plot: folder with a file at each id")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Print the use of the codes, and recall by codes alone; or one code's words and objects."""
    if bool(arguments.pictures) != (arguments.code is not None and bool(arguments.plot)):
        raise ConfigError("--pictures", arguments.pictures, "goes with --code N and --plot PNG; name all three")
    from fairseq_parp.manifests.alignments import read_alignment
    from fairseq_parp.retrieval.codes import draw, measure_codes
    from fairseq_parp.retrieval.embedding import embed_split
    from fairseq_parp.retrieval.labels import object_labels, read_objects, word_labels, written_words
    from fairseq_parp.retrieval.loading import load_grounded
    from fairseq_parp.retrieval.one_code import draw_code

    alignment = read_alignment(arguments.alignment) if arguments.alignment else None
    objects = read_objects(arguments.objects) if arguments.objects else None
    grounded = load_grounded(arguments.checkpoint)
    _require_fit(arguments, grounded)
    embedded = embed_split(grounded, arguments.data, arguments.split, arguments.images, arguments.pictures)
    found = measure_codes(embedded)
    if spoken := written_words(embedded) if grounded.written else alignment:
        found = found._replace(words=word_labels(embedded, spoken, arguments.alignment or arguments.data))
    if objects:
        found = found._replace(objects=object_labels(embedded, objects, arguments.objects))
    if arguments.code is None:
        if arguments.plot:
            draw(found, arguments.plot, grounded.model.shown)
        print(_as_json(found) if arguments.json else _render(found, grounded.model.shown))
    else:
        said, shown = _one(found, arguments.code)
        if arguments.plot:
            draw_code(embedded, arguments.code, said, arguments.pictures, arguments.plot)
        given = {"code": arguments.code, "words": dict(said.most_common()), "objects": dict(shown.most_common())}
        print(json.dumps(given) if arguments.json else _render_one(found, arguments.code, said, shown))
    if arguments.plot and not arguments.json:
        print(f"written: {absolute(arguments.plot)}")
    return 0


def _require_fit(arguments: argparse.Namespace, grounded: Grounded) -> None:
    """Check that the checkpoint has codes, and that the arguments fit it.

    Raises:
        CheckpointError, ConfigError: they do not.
    """
    codes, code = len(grounded.require_codes().book.embedding), arguments.code
    if grounded.written and arguments.alignment:
        raise ConfigError("--alignment", arguments.alignment, "is for spoken captions alone")
    if code is not None and not 0 <= code < codes:
        raise ConfigError("--code", code, f"must be 0 to {codes - 1}: the codes of the checkpoint")
    if code is not None and not (grounded.written or arguments.alignment or arguments.objects):
        raise ConfigError("--code", code, "needs --alignment or --objects, which name words and objects")


def _one(found: CodesFound, code: int) -> list[Counter[str]]:
    """Return the counts of a code's words and objects."""
    sides = (found.words, found.objects)
    return [Counter() if side is None else side.counts.get(code, Counter()) for side in sides]


def _render_one(found: CodesFound, code: int, words: Counter[str], objects: Counter[str]) -> str:
    uses = f"code {code}: {int(found.audio[code])} uses by captions, {int(found.image[code])} by pictures"
    named = [(kind, name, str(count)) for kind, counts in (("word", words), ("object", objects))
             for name, count in counts.most_common(12)]  # fmt: skip
    return "\n".join([uses, "", *table(["kind", "name", "features"], named, left=(0, 1))])


def _render(found: CodesFound, captions: str) -> str:
    from fairseq_parp.retrieval.results import ways

    use, shown = found.use, ways(captions)
    rows = [
        (captions, str(use.audio), f"{use.audio_perplexity:.1f}"),
        ("pictures", str(use.image), f"{use.image_perplexity:.1f}"),
    ]
    cells = [
        (shown[each.way], f"R@{each.k}", f"{each.value:.1f}", f"{each.low:.1f} to {each.high:.1f}",
         f"{each.chance:.2f}")
        for each in found.recall
    ]  # fmt: skip
    return "\n".join(
        [
            f"{len(found.audio)} codes, {use.used} used; {use.shared} shared, with {use.shared_uses:.1f} % of the uses",
            f"Jensen-Shannon divergence of both modalities' uses: {use.divergence:.3f} bits (0 alike, 1 apart)",
            "",
            *table(["modality", "codes used", "perplexity"], rows),
            "",
            *table(["by codes alone", "recall", "%", "95 % interval", "chance, %"], cells),
            *_render_labels(found),
        ]
    )


def _render_labels(found: CodesFound) -> list[str]:
    """Return the purities, and the most used codes with their names; nothing where no labels are given."""
    sides = [(name, side) for name, side in (("word", found.words), ("object", found.objects)) if side is not None]
    if not sides:
        return []
    purities = [(f"code to {name}", str(side.features), f"{side.purity:.1f}", f"{side.shuffled:.1f}")
                for name, side in sides]  # fmt: skip
    lines = ["", *table(["purity", "features", "%", "shuffled labels, %"], purities)]
    if len(sides) == 2:
        same, both = found.alike
        lines.append(f"{same} of {both} codes with a word and an object have the same name for both")
    cells = [(str(code), str(int(found.audio[code])), str(int(found.image[code])), *_names(sides, code))
             for code in found.busiest()]  # fmt: skip
    heads = [head for name, _ in sides for head in (name, "%")]
    return [*lines, "", *table(["code", "by captions", "by pictures", *heads], cells, left=(0, 3, 5))]


def _names(sides: list[tuple[str, CodeLabels]], code: int) -> list[str]:
    found = [side.best(code) for _, side in sides]
    return [cell for best in found for cell in (("", "") if best is None else (best[0], f"{best[1]:.0f}"))]


def _as_json(found: CodesFound) -> str:
    uses = {"audio": found.audio.tolist(), "image": found.image.tolist()}
    recall = [each._asdict() for each in found.recall]
    shown: dict[str, Any] = {"codes": len(found.audio)} | found.use._asdict() | {"uses": uses, "recall": recall}
    for name, side in (("words", found.words), ("objects", found.objects)):
        if side is not None:
            best = {str(code): side.best(code) for code in sorted(side.counts)}
            shown[name] = {"features": side.features, "purity": side.purity, "shuffled": side.shuffled, "best": best}
    if found.words is not None and found.objects is not None:
        shown["same_name"], shown["both_names"] = found.alike
    return json.dumps(shown)
