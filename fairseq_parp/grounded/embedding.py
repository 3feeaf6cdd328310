"""Features of a folder's pictures or clips, by the image encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from fairseq_parp.errors import ConfigError, ImagesError
from fairseq_parp.grounded.efficientnet import CELLS, NAME, SIDE, WIDTH, cells, load_encoder
from fairseq_parp.grounded.features import spans, write_in_parts
from fairseq_parp.grounded.pictures import ENDINGS, read_picture
from fairseq_parp.kinds import no_folder

BATCH = 16
"""Pictures that the encoder takes at a time."""


def embed_folder(
    folder: str | Path, out: str | Path, frames: int | None = None, progress: Callable[[range], Iterable[int]] = iter
) -> int:
    """Write the features of all pictures in and below a folder, or of all clips.

    A picture's id is its path relative to the folder. Each is squeezed to a square, so that its cells cover all of it;
    their boxes are written as well. A clip is a folder of pictures, which are its frames in the order of their names;
    its id is the folder's path. The mean of a frame's cells is its features.

    Args:
        folder: folder of the pictures, or of the clips.
        out: the file to write.
        frames: number that is taken of every clip, at even times; None for pictures.
        progress: wraps the numbers of the batches.

    Returns:
        The number of pictures, or of clips.

    Raises:
        ConfigError: there is to be no frame.
        ImagesError: the folder is not there or has no pictures, or a picture cannot be read; nothing is written.
        MissingToolError: the encoder's weights or Pillow are not installed.
    """
    if frames is not None and frames < 1:
        raise ConfigError("--frames", frames, "must be 1 or more")
    base = Path(folder)
    files = _files(base)
    each = (
        {file.relative_to(base).as_posix(): [file] for file in files} if frames is None else _clips(base, files, frames)
    )
    ids, shape = list(each), (CELLS if frames is None else frames, WIDTH)
    pictures = [file for name in ids for file in each[name]]
    encoder = load_encoder().to("cuda" if torch.cuda.is_available() else "cpu")

    def parts() -> Iterator[Tensor]:
        device = next(encoder.parameters()).device
        step = BATCH if frames is None else frames  # whole clips
        for at in progress(range(0, len(pictures), step)):
            pixels = torch.stack([_square(file) for file in pictures[at : at + step]])
            with torch.no_grad():
                found = encoder(pixels.to(device)).cpu()
            yield found if frames is None else found.mean(1)[None]

    places = cells() if frames is None else spans(frames)
    write_in_parts(out, ids, shape, parts(), NAME, places.expand(len(ids), -1, -1))
    return len(ids)


def _files(base: Path) -> list[Path]:
    """Return the pictures in and below a folder, by name."""
    if not base.is_dir():
        raise ImagesError(base, f"{no_folder(base)}; name a folder of pictures")
    files = sorted(
        file
        for file in base.rglob("*")
        if file.suffix.lower() in ENDINGS and not file.name.startswith(".") and file.is_file()
    )
    if not files:
        raise ImagesError(base, f"has no pictures in or below it; these end in {', '.join(ENDINGS)}")
    return files


def _clips(base: Path, files: Sequence[Path], frames: int) -> dict[str, list[Path]]:
    """Return the frames that are taken of each clip, by its id: those in the middle of equal parts of it."""
    clips: dict[str, list[Path]] = {}
    for file in files:
        clips.setdefault(file.parent.relative_to(base).as_posix(), []).append(file)
    if "." in clips:
        raise ImagesError(base, f"has {clips['.'][0].name}, which is in no clip: a clip is a folder of its frames")
    return {
        name: [each[(2 * part + 1) * len(each) // (2 * frames)] for part in range(frames)]
        for name, each in clips.items()
    }


def _square(path: Path) -> Tensor:
    """Return a picture as bytes (3, 224, 224)."""
    from PIL import Image

    squeezed = Image.fromarray(read_picture(path)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return torch.frombuffer(bytearray(squeezed.tobytes()), dtype=torch.uint8).view(SIDE, SIDE, 3).permute(2, 0, 1)
