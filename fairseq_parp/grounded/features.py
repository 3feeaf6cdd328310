"""``images.safetensors``: the features of pictures' regions, read one picture at a time and written whole."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fairseq_parp.errors import ImagesError, first_line, listing
from fairseq_parp.files import writing_whole
from fairseq_parp.kinds import kind_of, unreadable

FILE = "images.safetensors"

_MAKE = "fairseq-parp images embed, or images import, writes such a file"

_PART = 256
"""Pictures whose features are converted at a time."""

_ROUNDING = 1e-4
"""How far a box may reach beyond the picture."""


class Features:
    """The features of a set of pictures.

    Attributes:
        path: path of the file.
        ids: ids of the pictures, in the order of the rows.
        encoder: name of the image encoder that made them.
        regions, width: sizes of every picture's features.
        has_boxes: whether the regions have boxes.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a file; no features are read yet.

        Raises:
            ImagesError: it is not there, damaged, or not such a file.
        """
        from safetensors import SafetensorError, safe_open  # here: without pictures the plugin does without it

        self.path = Path(path)
        try:
            self.path.open("rb").close()  # safetensors calls a file without rights one that does not exist
            with safe_open(self.path, "pt") as file:
                metadata, names = file.metadata() or {}, set(file.keys())
                shapes = {name: file.get_slice(name).get_shape() for name in names}
            self.ids: list[str] = json.loads(metadata["ids"])
            if not isinstance(self.ids, list) or not all(isinstance(each, str) for each in self.ids):
                raise ValueError("ids are not a list of texts")
            self.encoder = str(metadata["encoder"])
            count, self.regions, self.width = shapes["features"]
        except OSError as error:
            raise ImagesError(self.path, f"{unreadable(self.path, error)}; {_MAKE}") from None
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            other = kind_of(self.path)
            known = f", it is {other}" if other else f" ({first_line(error)})"
            raise ImagesError(self.path, f"has no features of pictures{known}; {_MAKE}") from None
        self.has_boxes = "boxes" in shapes
        if len(set(self.ids)) != len(self.ids):
            raise ImagesError(self.path, "has a picture's id twice")
        if count != len(self.ids):
            raise ImagesError(self.path, f"has {count} rows of features and {len(self.ids)} ids")
        if self.has_boxes and shapes["boxes"] != [count, self.regions, 4]:
            raise ImagesError(self.path, f"has boxes of shape {shapes['boxes']}, not {[count, self.regions, 4]}")
        self._opened: tuple[int, Any] = (0, None)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row by id."""
        return {name: row for row, name in enumerate(self.ids)}

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor | None]:
        """Return the features (R, C) of a picture, and its boxes (R, 4) where there are some, in float32.

        Raises:
            ImagesError: they have NaN or infinite values, or boxes are no fractions of the picture.
        """
        from safetensors import safe_open

        if self._opened[0] != os.getpid():  # each worker process reads through a handle of its own
            self._opened = os.getpid(), safe_open(self.path, "pt")
        file = self._opened[1]
        features = file.get_slice("features")[row].float()
        if not torch.isfinite(features).all():
            raise ImagesError(self.path, f"the features of picture {self.ids[row]!r} are NaN or infinite")
        boxes = file.get_slice("boxes")[row].float() if self.has_boxes else None
        if boxes is not None and not ((boxes > -_ROUNDING) & (boxes < 1 + _ROUNDING)).all():  # NaN as well
            reason = "boxes are fractions of its width and height"
            raise ImagesError(self.path, f"picture {self.ids[row]!r} has boxes beyond 0 to 1 or NaN; {reason}")
        return features, boxes

    def boxes(self, rows: Sequence[int]) -> Tensor | None:
        """Return the boxes (N, R, 4) of the pictures in these rows; or None."""
        return torch.stack([box for row in rows if (box := self[row][1]) is not None]) if self.has_boxes else None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": (0, None)}


def spans(frames: int) -> Tensor:
    """Return the boxes (T, 4) of a clip's frames: left and right are times, as fractions of the clip.

    >>> spans(2).tolist()
    [[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]
    """
    at = torch.arange(frames) / frames
    return torch.stack([at, torch.zeros(frames), at + 1 / frames, torch.ones(frames)], 1)


def write_features(
    path: str | Path, ids: Sequence[str], features: Tensor, encoder: str, boxes: Tensor | None = None
) -> None:
    """Write features (N, R, C) of N pictures, in half precision, and boxes (N, R, 4) as fractions of the picture.

    Raises:
        ImagesError: a value is NaN, infinite or too large for half precision.
    """
    write_in_parts(path, ids, tuple(features.shape[1:]), features.split(_PART), encoder, boxes)


def write_in_parts(
    path: str | Path,
    ids: Sequence[str],
    shape: tuple[int, ...],
    parts: Iterable[Tensor],
    encoder: str,
    boxes: Tensor | None = None,
) -> None:
    """Write features that do not fit into memory together.

    Args:
        path: path of the file.
        ids: ids of the N pictures.
        shape: (R, C) of every picture's features.
        parts: (B, R, C) each, N pictures in all.
        encoder: name of the image encoder.
        boxes: (N, R, 4).

    Raises:
        ImagesError: an id occurs twice, rows and ids differ in number, or a value is NaN, infinite or too large for
            half precision.
    """
    if twice := [name for name, count in Counter(ids).items() if count > 1]:
        raise ImagesError(path, f"would have ids twice: {listing(twice)}")
    size = 2 * len(ids) * math.prod(shape)
    header: dict[str, Any] = {
        "__metadata__": {"ids": json.dumps(list(ids)), "encoder": encoder},
        "features": {"dtype": "F16", "shape": [len(ids), *shape], "data_offsets": [0, size]},
    }
    if boxes is not None:
        span = [size, size + 4 * boxes.numel()]
        header["boxes"] = {"dtype": "F32", "shape": list(boxes.shape), "data_offsets": span}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with writing_whole(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        done = 0
        for part in parts:
            half = part.half()
            if not torch.isfinite(half).all():
                name = ids[done + int((~torch.isfinite(half)).flatten(1).any(1).nonzero()[0])]
                raise ImagesError(path, f"picture {name!r} would have features that are not finite in half precision")
            file.write(half.contiguous().numpy().tobytes())
            done += len(part)
        if done != len(ids):
            raise ImagesError(path, f"would have {done} rows of features and {len(ids)} ids")
        if boxes is not None:
            file.write(boxes.float().contiguous().numpy().tobytes())
