"""Scenes for grounded training: pictures of two objects, spoken captions, times of words, places of objects.

Splits share objects and sentences, but neither pairs of objects nor speakers.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from fairseq_parp.demo.corpus import Utterance, record, utterance
from fairseq_parp.demo.drawing import ATTRIBUTION, Box, draw_picture

OBJECTS = {
    "dog": "🐕", "cat": "🐈", "horse": "🐎", "cow": "🐄", "pig": "🐖", "rabbit": "🐇",
    "elephant": "🐘", "tiger": "🐅", "monkey": "🐒", "penguin": "🐧", "owl": "🦉", "duck": "🦆",
    "frog": "🐸", "turtle": "🐢", "snake": "🐍", "fish": "🐟", "apple": "🍎", "banana": "🍌",
    "lemon": "🍋", "strawberry": "🍓", "carrot": "🥕", "mushroom": "🍄", "pizza": "🍕", "bread": "🍞",
    "car": "🚗", "bicycle": "🚲", "rocket": "🚀", "boat": "⛵", "train": "🚂", "umbrella": "☔",
    "guitar": "🎸", "drum": "🥁", "bell": "🔔", "key": "🔑", "clock": "⏰", "book": "📕",
    "hammer": "🔨", "chair": "🪑", "shoe": "👞", "hat": "🎩", "ball": "⚽", "balloon": "🎈",
    "crown": "👑", "house": "🏠", "tree": "🌳", "flower": "🌻", "star": "⭐", "moon": "🌙",
}  # fmt: skip
"""Emoji by name."""

SENTENCES = (
    "{} and {}", "{} with {}", "{} near {}", "{} beside {}", "there is {} and {}", "this is {} beside {}",
    "look at {} and {}", "we can see {} near {}", "here are {} and {}",
)  # fmt: skip

SIZES = {"test": 400, "valid": 80, "train": 1500}
"""Pictures of each split."""

CAPTIONS = {"test": 1, "valid": 1, "train": 2}
"""Captions of each picture."""

OBJECTS_HEAD = ("image", "object", "left", "top", "right", "bottom")


@dataclass(frozen=True)
class Scene:
    """A picture.

    Attributes:
        image: its id, the path below the folder of pictures.
        objects: names of its objects.
        captions: the utterances that describe it; each names all objects.
    """

    image: str
    objects: tuple[str, str]
    captions: tuple[Utterance, ...]


def plan(seed: int, sizes: Mapping[str, int] = SIZES) -> list[Scene]:
    """Return the scenes of all splits; the same seed gives the same ones.

    Args:
        seed: seed of the choice of pairs, sentences and voices.
        sizes: pictures by split. Those of test and valid show a pair each that no other split has; those of train
            show the remaining pairs in turns.
    """
    draw = random.Random(seed)
    pairs = list(combinations(OBJECTS, 2))
    draw.shuffle(pairs)
    scenes, start = [], 0
    for split in ("test", "valid", "train"):
        end = len(pairs) if split == "train" else start + sizes[split]
        own = pairs[start:end]
        scenes += [_scene(split, number, own[number % len(own)], draw) for number in range(sizes[split])]
        start = end
    return scenes


def _scene(split: str, number: int, objects: tuple[str, str], draw: random.Random) -> Scene:
    count = CAPTIONS[split]
    captions = tuple(utterance(split, number * count + place, _caption(objects, draw), draw) for place in range(count))
    return Scene(f"{split}/{number:05}-{'-'.join(objects)}.png", objects, captions)


def _caption(objects: Sequence[str], draw: random.Random) -> str:
    article = draw.choice(("a", "the"))
    named = [f"{'an' if article == 'a' and name[0] in 'aeiou' else article} {name}" for name in objects]
    draw.shuffle(named)
    return draw.choice(SENTENCES).format(*named)


def write(out: Path, scenes: Sequence[Scene], seed: int) -> None:
    """Write the scenes under ``out``.

    - ``pictures/``: a PNG file at each image's id, and the attribution that OpenMoji's licence requires;
    - ``audio/`` and ``transcripts.tsv``: the captions, as ``fairseq-parp manifest table`` reads them;
    - ``words.ctm`` and ``objects.tsv``: the times of words and the boxes of objects, as ``fairseq-parp codes`` and
      ``localise`` read them.

    Raises:
        MissingToolError: eSpeak NG, Pillow or OpenMoji is not installed.
    """
    pictures, draw = out / "pictures", random.Random(seed)
    boxes = {scene.image: _draw(pictures, scene, draw) for scene in scenes}
    (pictures / "ATTRIBUTION.txt").write_text(ATTRIBUTION + "\n")
    said = record(out, [caption for scene in scenes for caption in scene.captions], seed)
    rows = [
        (caption.path, caption.text.upper(), caption.split, caption.voice.name, scene.image)
        for scene in scenes
        for caption in scene.captions
    ]
    _write_table(out / "transcripts.tsv", ("path", "text", "split", "speaker", "image"), rows)
    words = "".join(
        f"{Path(path).stem} 1 {word.start:.3f} {word.end - word.start:.3f} {word.text.replace(' ', '_')}\n"
        for path, spoken in said.items()
        for word in spoken
        if word.end > word.start
    )
    (out / "words.ctm").write_text(words)
    objects = [
        (image, name, *(f"{side:.4f}" for side in box)) for image, drawn in boxes.items() for name, box in drawn.items()
    ]
    _write_table(out / "objects.tsv", OBJECTS_HEAD, objects)


def _draw(pictures: Path, scene: Scene, draw: random.Random) -> dict[str, Box]:
    path = pictures / scene.image
    path.parent.mkdir(parents=True, exist_ok=True)
    found = draw_picture([OBJECTS[name] for name in scene.objects], path, draw)
    return dict(zip(scene.objects, found, strict=True))


def _write_table(path: Path, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    path.write_text("\n".join("\t".join(row) for row in (head, *rows)) + "\n")
