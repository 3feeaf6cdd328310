"""Features that another image encoder has made, and the ids of their pictures, from arrays and lists."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fairseq_parp.errors import ConfigError, ImagesError, first_line, listing
from fairseq_parp.grounded.features import spans, write_in_parts
from fairseq_parp.kinds import misread, unreadable

_PART = 256

Array = NDArray[Any]


def import_features(
    source: str | Path,
    out: str | Path,
    encoder: str,
    ids: Sequence[str | Path] = (),
    boxes: str | Path | None = None,
    frames: bool = False,
) -> tuple[int, ...]:
    """Write features from an array.

    Args:
        source: ``.npy`` with features (N, R, C) or (N, C); or ``.npz`` with ``features``, and optionally ``ids`` and
            ``boxes``. Arrays of pickled objects are refused.
        out: the file to write.
        encoder: name of the encoder that made them.
        ids: files with the pictures' ids, see :func:`read_ids`; without one, the ``.npz`` has them.
        boxes: ``.npy`` with (N, R, 4): left, top, right, bottom as fractions of width and height.
        frames: whether the regions are a clip's frames, at even times; then they need no boxes.

    Returns:
        The shape (N, R, C).

    Raises:
        ImagesError: a file cannot be read, or arrays and ids do not fit together.
        ConfigError: no ids are given, or boxes of frames.
    """
    arrays = _arrays(Path(source))
    if boxes is not None:
        arrays |= {"boxes": _arrays(Path(boxes)).popitem()[1]}
    if frames and "boxes" in arrays:
        raise ConfigError("--frames", True, "goes without boxes: the places of frames are their times")
    features = arrays.get("features")
    if features is None:
        raise ImagesError(source, f"has the arrays {listing(arrays)}; one must have the name features")
    features = features[:, None] if features.ndim == 2 else features
    if features.ndim != 3 or not features.size or features.dtype.kind not in "fiu":
        shape = f"shape {features.shape} and type {features.dtype}"
        raise ImagesError(source, f"features have {shape}; they must be numbers (pictures, regions, width)")
    own = [str(name) for name in arrays.get("ids", np.array([])).tolist()]
    names = read_ids(ids) if ids else own
    if not names:
        raise ConfigError("--ids", None, "name the file with each row's id; the array has none")
    if len(names) != len(features):
        there = f"{listing([str(file) for file in ids])} has" if ids else "there are"
        raise ImagesError(source, f"has {len(features)} rows; {there} {len(names)} ids")
    placed = _boxes(arrays.get("boxes"), features.shape, boxes or source)
    if frames:
        placed = spans(features.shape[1]).expand(len(features), -1, -1)
    parts = (torch.tensor(features[at : at + _PART].astype(np.float32)) for at in range(0, len(features), _PART))
    write_in_parts(out, names, features.shape[1:], parts, encoder, placed)
    return features.shape


def read_ids(paths: Sequence[str | Path]) -> list[str]:
    """Read the ids of pictures, in the order of the rows.

    Args:
        paths: files, each a text file with one id a line; or ``.json``: SpokenCOCO's list of captions, whose pictures
            count once, in their order; or an object with the row of each id.

    Raises:
        ImagesError: a file cannot be read, or has none of these forms; or all files are empty.
    """
    names = [name for path in paths for name in _ids(path)]
    if not names:
        raise ImagesError(paths[0], "has no ids; name a file with each row's id")
    return names


def _ids(path: str | Path) -> list[str]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        given = json.loads(text) if Path(path).suffix.lower() == ".json" else text.splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImagesError(path, unreadable(path, error)) from None
    except (ValueError, RecursionError) as error:
        raise ImagesError(path, f"cannot be read as ids ({first_line(error)})") from None
    if isinstance(given, Mapping) and isinstance(given.get("data"), list):
        for number, each in enumerate(given["data"]):
            if not isinstance(each, Mapping) or not isinstance(each.get("image"), str):
                raise ImagesError(path, f"data[{number}] has no image")
        return list(dict.fromkeys(str(each["image"]) for each in given["data"]))
    if isinstance(given, Mapping):
        rows = list(given.values())
        if not all(type(row) is int for row in rows) or sorted(rows) != list(range(len(rows))):
            raise ImagesError(path, "must give each id a row, from 0 on without a gap, or have SpokenCOCO's list data")
        return sorted(given, key=given.__getitem__)
    if not isinstance(given, list) or not all(isinstance(name, str) and name.strip() for name in given):
        raise ImagesError(path, "must have one id in every line")
    return [name.strip() for name in given]


def _arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of a file by name; that of a ``.npy`` is ``features``."""
    try:
        read = np.load(path, mmap_mode="r", allow_pickle=False)
        arrays = {"features": read} if isinstance(read, np.ndarray) else {name: read[name] for name in read.files}
        if not all(isinstance(each, np.ndarray) for each in arrays.values()):
            raise ValueError("a zip file with other members")  # such as what torch.save writes
        return arrays
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        reason = misread("a NumPy array", path, error)
        raise ImagesError(path, f"{reason}; an array is .npy or .npz, without pickled objects") from None


def _boxes(boxes: Array | None, shape: Sequence[int], path: str | Path) -> torch.Tensor | None:
    if boxes is None:
        return None
    if boxes.shape != (*shape[:2], 4) or boxes.dtype.kind not in "fiu":
        raise ImagesError(path, f"has boxes of shape {boxes.shape}, not {(*shape[:2], 4)}")
    if not (boxes.min() >= 0 and boxes.max() <= 1):  # NaN as well
        reason = f"has boxes from {boxes.min():g} to {boxes.max():g}; divide them by the picture's width and height"
        raise ImagesError(path, reason)
    return torch.tensor(boxes.astype(np.float32))
