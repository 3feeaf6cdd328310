"""Reading picture files."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairseq_parp.errors import ImagesError, MissingToolError, listing
from fairseq_parp.kinds import misread, no_folder

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""Of picture files, in small letters."""


def require_pictures(folder: Path, ids: Iterable[str]) -> None:
    """Check that a folder has a file at the id of each picture.

    Raises:
        ImagesError: it has not; some of the missing ones are named.
    """
    if not folder.is_dir():
        raise ImagesError(folder, f"{no_folder(folder)}; name a folder of pictures")
    if missing := [name for name in dict.fromkeys(ids) if not (folder / name).is_file()]:
        raise ImagesError(folder, f"has no file for {len(missing)} picture(s): {listing(missing)}")


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
        raise ImagesError(path, misread("a picture", path, error)) from None
