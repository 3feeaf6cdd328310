"""``fairseq-parp localise``: the place of a word in a picture or clip, as a heat map, or the pointing game."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from fairseq_parp.cli.outputs import OutputPicture
from fairseq_parp.errors import ConfigError, absolute
from fairseq_parp.tables import table

if TYPE_CHECKING:
    from fairseq_parp.retrieval.localising import Localiser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint of grounded_pretraining with model.codes")
    parser.add_argument("caption", metavar="WAV", nargs="?", help="a recording, or a text (model of written captions)")
    parser.add_argument("image", metavar="IMAGE", nargs="?", help="id of a picture or clip in --images")
    parser.add_argument("--images", metavar="FILE", required=True, help="features of pictures with boxes of regions")
    parser.add_argument("--word", metavar="WORD", help="the word to find; --alignment has its times")
    parser.add_argument("--start", metavar="S", type=float, help="instead of --word: second at which a word starts")
    parser.add_argument("--end", metavar="S", type=float, help="second at which the word ends")
    parser.add_argument("--plot", metavar="PNG", type=OutputPicture, help="also draw the heat map")
    parser.add_argument("--picture", metavar="FILE", help="for --plot: draw over this picture")
    parser.add_argument("--alignment", metavar="FILE", help="times of spoken words: an item file or a CTM file")
    parser.add_argument("--data", metavar="DIR", help="play the pointing game over this data folder's captions instead")
    parser.add_argument("--split", metavar="NAME", default="test", help="split of --data (default: test)")
    parser.add_argument("--objects", metavar="TSV", help="with --data: columns image, object, left, top, right, bottom")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Print the relevance of each region for a word, or the hits of the pointing game."""
    _require_one_way(arguments)
    from fairseq_parp.grounded.features import Features
    from fairseq_parp.retrieval.loading import load_grounded
    from fairseq_parp.retrieval.localising import Localiser

    localiser = Localiser(load_grounded(arguments.checkpoint), Features(arguments.images))
    by_name = arguments.word is not None or arguments.data is not None
    if by_name and localiser.written == bool(arguments.alignment):
        allowed = "is for spoken captions alone" if localiser.written else "is needed: the times of spoken words"
        raise ConfigError("--alignment", arguments.alignment, allowed)
    return _one(localiser, arguments) if arguments.caption is not None else _game(localiser, arguments)


def _require_one_way(arguments: argparse.Namespace) -> None:
    """Check that the arguments are those of one picture, or of one pointing game.

    Raises:
        ConfigError: they are not.
    """
    given = {key for key, value in vars(arguments).items() if value is not None}
    ways = {"caption": {"caption", "image", "start", "end"}, "data": {"data", "objects"}}
    if "word" in given:
        ways["caption"] = {"caption", "image", "word"}
    asked = given & {"caption", "image", "word", "start", "end", "data", "objects"}
    if asked not in ways.values():
        allowed = "name WAV, IMAGE and --word, or WAV, IMAGE, --start and --end; or --data and --objects"
        raise ConfigError("WAV", arguments.caption, allowed)
    for key, needs in (("plot", "caption"), ("picture", "plot")):
        if key in given and needs not in given:
            raise ConfigError(
                f"--{key}", getattr(arguments, key), "draws the heat map of one WAV and IMAGE, into --plot"
            )
    if "alignment" in given and not given & {"word", "data"}:
        raise ConfigError("--alignment", arguments.alignment, "gives the times of words for --word or --data")


def _one(localiser: Localiser, arguments: argparse.Namespace) -> int:
    from fairseq_parp.manifests.alignments import read_alignment
    from fairseq_parp.retrieval.heat import draw

    segments = [(arguments.start, arguments.end)]
    if arguments.word is not None:
        alignment = read_alignment(arguments.alignment) if arguments.alignment else None
        segments = list(localiser.segments(arguments.word, arguments.caption, alignment))
    found, boxes = localiser.find(arguments.caption, arguments.image, segments)
    if arguments.plot:
        draw(found, boxes, arguments.plot, arguments.picture)
    if arguments.json:
        print(json.dumps({"relevance": found.tolist(), "boxes": boxes.tolist(), "segments": segments}))
        return 0
    order = found.argsort(descending=True, stable=True).tolist()
    cells = [(str(row), f"{found[row]:.4f}", *(f"{side:.2f}" for side in boxes[row].tolist())) for row in order]
    print("\n".join(table(["region", "relevance", "left", "top", "right", "bottom"], cells)))
    if arguments.plot:
        print(f"written: {absolute(arguments.plot)}")
    return 0


def _game(localiser: Localiser, arguments: argparse.Namespace) -> int:
    from fairseq_parp.manifests.alignments import read_alignment
    from fairseq_parp.retrieval.labels import read_objects
    from fairseq_parp.retrieval.pointing import point, words_of_split

    alignment = read_alignment(arguments.alignment) if arguments.alignment else None
    objects = read_objects(arguments.objects)
    words = words_of_split(localiser, arguments.data, arguments.split, alignment, objects)
    found = point(localiser, words, f"{arguments.alignment or arguments.data} with {arguments.objects}")
    if arguments.json:
        shown = _counted(found.hits, found.chance)
        print(json.dumps(shown | ({"preferred": _counted(found.preferred, found.even)} if found.preferred else {})))
        return 0
    print(f"{_in_words(found.hits)} words found; a random region {found.chance:.1f} %")
    if found.preferred:
        others = "words whose object is more relevant than the picture's others"
        print(f"{_in_words(found.preferred)} {others}; a random object {found.even:.1f} %")
    return 0


def _counted(hits: list[bool], chance: float) -> dict[str, float]:
    from fairseq_parp.scoring.accuracy import Accuracy

    counted = Accuracy(sum(hits), len(hits))
    low, high = (100 * side for side in counted.interval())
    return {"words": counted.total, "hits": counted.correct, "chance": chance, "low": low, "high": high}


def _in_words(hits: list[bool]) -> str:
    """Return hits as ``3 of 4 (75.0 %, 30.1 to 95.4)``."""
    found = _counted(hits, 0)
    share = f"{100 * found['hits'] / found['words']:.1f} %, {found['low']:.1f} to {found['high']:.1f}"
    return f"{found['hits']} of {found['words']} ({share})"
