"""``fairseq-parp codes``: uses of a shared codebook by captions and pictures; words and objects of its codes."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from fairseq_parp.errors import ConfigError, absolute
from fairseq_parp.tables import table

if TYPE_CHECKING:
    from fairseq_parp.grounded.purity import CodeLabels
    from fairseq_parp.retrieval.codes import CodesFound
    from fairseq_parp.retrieval.embedding import Embedded


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint of grounded_pretraining with model.codes")
    parser.add_argument("--data", metavar="DIR", required=True, help="data folder with SPLIT.tsv and SPLIT.img")
    parser.add_argument("--split", metavar="NAME", default="test", help="split of --data (default: test)")
    parser.add_argument("--images", metavar="FILE", help="features of the pictures (default: DIR/images.safetensors)")
    parser.add_argument("--alignment", metavar="FILE", help="times of spoken words (item or CTM): also print words")
    parser.add_argument("--objects", metavar="TSV", help="image, object, left, top, right, bottom: also print objects")
    parser.add_argument("--code", metavar="N", type=int, help="list the words and objects of one code instead")
    parser.add_argument("--plot", metavar="PNG", help="also draw the uses of codes; with --code, words and pictures")
    parser.add_argument("--pictures", metavar="DIR", help="for --code with --plot: folder with a file at each id")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Print the use of the codes, and recall by codes alone; or one code's words and objects."""
    if bool(arguments.pictures) != (arguments.code is not None and bool(arguments.plot)):
        raise ConfigError("--pictures", arguments.pictures, "goes with --code N and --plot PNG, and these with it")
    from fairseq_parp.retrieval.codes import draw, measure_codes
    from fairseq_parp.retrieval.embedding import embed_split
    from fairseq_parp.retrieval.loading import load_grounded
    from fairseq_parp.retrieval.one_code import draw_code

    grounded = load_grounded(arguments.checkpoint)
    embedded = embed_split(grounded, arguments.data, arguments.split, arguments.images)
    found = measure_codes(embedded, grounded.path)
    words, objects = _labels(arguments, embedded, grounded.model.modality == "text")
    found = found._replace(words=words, objects=objects)
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


def _labels(
    arguments: argparse.Namespace, embedded: Embedded, written: bool
) -> tuple[CodeLabels | None, CodeLabels | None]:
    """Return the words and the objects of the codes, as far as they are known."""
    from fairseq_parp.manifests.alignments import read_alignment
    from fairseq_parp.retrieval.labels import object_labels, read_objects, word_labels, written_words

    if written and arguments.alignment:
        raise ConfigError("--alignment", arguments.alignment, "is for spoken captions alone")
    words = objects = None
    if written:
        words = word_labels(embedded, written_words(embedded), arguments.data)
    elif arguments.alignment:
        words = word_labels(embedded, read_alignment(arguments.alignment), arguments.alignment)
    if arguments.objects:
        objects = object_labels(embedded, read_objects(arguments.objects), arguments.objects)
    return words, objects


def _one(found: CodesFound, code: int) -> list[Counter[str]]:
    """Return the counts of a code's words and objects."""
    if not 0 <= code < len(found.audio):
        raise ConfigError("--code", code, f"must be 0 to {len(found.audio) - 1}: the codes of the checkpoint")
    if found.words is None and found.objects is None:
        raise ConfigError("--code", code, "needs --alignment or --objects: without them nothing has a name")
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
