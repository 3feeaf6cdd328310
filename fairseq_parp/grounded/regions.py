"""Features of detected regions in the form that LXMERT publishes: a picture a line, arrays in base64.

A line has ten fields between tabs: the picture's id, its height and width in pixels, objects and attributes, the number
of boxes, and boxes (left, top, right, bottom in pixels) and features in float32.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fairseq_parp.errors import ImagesError, listing
from fairseq_parp.grounded.features import write_in_parts
from fairseq_parp.grounded.importing import read_ids
from fairseq_parp.kinds import unreadable

FIELDS = 10
_HEIGHT, _WIDTH, _COUNT, _BOXES, _FEATURES = 1, 2, 7, 8, 9

_BEYOND = 0.01
"""How far detected boxes may reach beyond the picture, as a fraction of its side; they are cut off there."""


class Line(NamedTuple):
    """Where a picture stands: number of the file, its first byte there, and its line for messages."""

    file: int
    offset: int
    line: int


def import_regions(
    sources: Sequence[str | Path], out: str | Path, encoder: str, ids: Sequence[str | Path] = ()
) -> tuple[int, ...]:
    """Write the features and boxes of pictures from LXMERT's files, which are read one picture at a time.

    Args:
        sources: the files, such as ``train2014_obj36.tsv`` and ``val2014_obj36.tsv``.
        out: the file to write.
        encoder: name of the encoder that made them.
        ids: files with the pictures to take, see :func:`~fairseq_parp.grounded.importing.read_ids`. The line of
            ``val2014/NAME.jpg`` has this id or ``NAME``. Without a file all are taken, under the ids of the lines.

    Returns:
        The shape (N, R, C).

    Raises:
        ImagesError: a file cannot be read, a line is damaged or has another number of regions than the first one, a
            picture occurs twice, or a picture of ``ids`` is not there.
    """
    files = [Path(source) for source in sources]
    lines = _lines(files)
    wanted = read_ids(ids) if ids else list(lines)
    chosen = _chosen(lines, wanted, files[-1])
    names = sorted(chosen, key=chosen.__getitem__)
    if not names:
        raise ImagesError(files[0], "gives no picture: it is empty")
    regions, width = _read(files, chosen[names[0]])[0].shape
    boxes = torch.empty(len(names), regions, 4)

    def parts() -> Iterator[Tensor]:
        for row, name in enumerate(names):
            features, boxes[row] = _read(files, chosen[name], regions, width)
            yield features[None]

    write_in_parts(out, names, (regions, width), parts(), encoder, boxes)
    return len(names), regions, width


def _lines(files: Sequence[Path]) -> dict[str, Line]:
    """Return where each picture's line is, by the id in it."""
    found: dict[str, Line] = {}
    for number, file in enumerate(files):
        try:
            with file.open("rb") as opened:
                offset = 0
                for line, content in enumerate(opened, start=1):
                    name = content.split(b"\t", 1)[0].decode()
                    if name in found:
                        raise ImagesError(file, f"line {line}: picture {name!r} occurs twice")
                    found[name] = Line(number, offset, line)
                    offset += len(content)
        except (OSError, UnicodeDecodeError) as error:
            raise ImagesError(file, unreadable(file, error)) from None
    return found


def _chosen(lines: Mapping[str, Line], ids: Sequence[str], last: Path) -> dict[str, Line]:
    """Return the lines of the pictures to take, by their ids."""
    found = {name: lines.get(name) or lines.get(Path(name).stem) for name in ids}
    if missing := [name for name, line in found.items() if line is None]:
        raise ImagesError(
            last, f"{len(missing)} picture(s) have no line in this file or an earlier one: {listing(missing)}"
        )
    return {name: line for name, line in found.items() if line is not None}


def _read(
    files: Sequence[Path], place: Line, regions: int | None = None, width: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return features (R, C) and boxes (R, 4), as fractions of the picture."""
    file = files[place.file]
    with file.open("rb") as opened:
        opened.seek(place.offset)
        fields = opened.readline().rstrip(b"\r\n").split(b"\t")
    try:
        if len(fields) != FIELDS:
            raise ValueError(f"{len(fields)} fields, not {FIELDS}")
        count, sides = int(fields[_COUNT]), [int(fields[at]) for at in (_WIDTH, _HEIGHT)] * 2
        if min(sides) < 1:
            raise ValueError("a picture without a size")
        boxes = _floats(fields[_BOXES]).reshape(count, 4) / np.array(sides, np.float32)
        features = _floats(fields[_FEATURES]).reshape(count, -1)
        if (regions, width) not in ((None, None), features.shape):
            raise ValueError(f"features of shape {features.shape}; the first picture has {(regions, width)}")
        if not (boxes.min() >= -_BEYOND and boxes.max() <= 1 + _BEYOND):  # NaN as well
            raise ValueError(f"boxes reach from {boxes.min():g} to {boxes.max():g} of the picture")
    except (ValueError, binascii.Error) as error:
        raise ImagesError(file, f"line {place.line}: no regions as LXMERT's: {error}") from None
    return torch.tensor(features), torch.tensor(boxes.clip(0, 1))


def _floats(field: bytes) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(field, validate=True), "<f4")
