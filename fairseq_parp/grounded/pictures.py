"""Reading picture files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairseq_parp.errors import ImagesError, MissingToolError, first_line

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""Of picture files, in small letters."""


def read_picture(path: Path, side: int | None = None) -> NDArray[np.uint8]:
    """Read a picture as RGB over white, turned as its EXIF orientation asks.

    Args:
        path: path of the file.
        side: the picture is made smaller so that neither side is longer, in pixels.

    Returns:
        (height, width, 3).

    Raises:
        ImagesError: the file is no picture, damaged or too large to be one.
        MissingToolError: Pillow is not installed.
    """
    logging.getLogger("PIL").setLevel(logging.WARNING)  # it logs every part of a file where fairseq logs
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise MissingToolError(f"pictures need Pillow: pip install pillow ({error})") from None
    try:
        with Image.open(path) as opened:
            turned: Any = ImageOps.exif_transpose(opened)
            if side is not None:
                turned.thumbnail((side, side))
            coloured = turned.convert("RGBA")
            over = Image.new("RGBA", coloured.size, "white")
            over.alpha_composite(coloured)
            return np.asarray(over.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImagesError(path, f"cannot be read as a picture ({first_line(error)})") from None
