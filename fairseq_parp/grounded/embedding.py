"""Features of a folder's pictures, by the image encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from fairseq_parp.errors import ImagesError
from fairseq_parp.grounded.efficientnet import CELLS, NAME, SIDE, WIDTH, cells, load_encoder
from fairseq_parp.grounded.features import write_in_parts
from fairseq_parp.grounded.pictures import ENDINGS, read_picture

BATCH = 16
"""Pictures that the encoder takes at a time."""


def embed_folder(folder: str | Path, out: str | Path, progress: Callable[[range], Iterable[int]] = iter) -> int:
    """Write the features of all pictures in and below a folder.

    A picture's id is its path relative to the folder. Each is squeezed to a square, so that its cells cover all of it;
    their boxes are written as well.

    Args:
        folder: of the pictures.
        out: the file to write.
        progress: wraps the numbers of the batches.

    Returns:
        The number of pictures.

    Raises:
        ImagesError: the folder is not there or has no pictures, or a picture cannot be read; nothing is written.
        MissingToolError: the encoder's weights or Pillow are not installed.
    """
    base = Path(folder)
    if not base.is_dir():
        raise ImagesError(base, "is no folder of pictures")
    ids = sorted(
        file.relative_to(base).as_posix()
        for file in base.rglob("*")
        if file.suffix.lower() in ENDINGS and not file.name.startswith(".") and file.is_file()
    )
    if not ids:
        raise ImagesError(base, f"has no pictures in or below it; these end in {', '.join(ENDINGS)}")
    encoder = load_encoder().to("cuda" if torch.cuda.is_available() else "cpu")

    def parts() -> Iterator[Tensor]:
        device = next(encoder.parameters()).device
        for at in progress(range(0, len(ids), BATCH)):
            pictures = torch.stack([_square(base / name) for name in ids[at : at + BATCH]])
            with torch.no_grad():
                yield encoder(pictures.to(device)).cpu()

    write_in_parts(out, ids, (CELLS, WIDTH), parts(), NAME, cells().expand(len(ids), -1, -1))
    return len(ids)


def _square(path: Path) -> Tensor:
    """Return a picture as bytes (3, 224, 224)."""
    from PIL import Image

    squeezed = Image.fromarray(read_picture(path)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return torch.frombuffer(bytearray(squeezed.tobytes()), dtype=torch.uint8).view(SIDE, SIDE, 3).permute(2, 0, 1)
