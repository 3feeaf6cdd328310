"""``SPLIT.img``: one id of a picture or clip a line, in the order of the captions in the tsv or wrd."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairseq_parp.errors import ImagesError, listing
from fairseq_parp.grounded.features import Features
from fairseq_parp.kinds import unreadable


def rows_of(captions: Path, utterances: int, features: Features, skipped: Collection[int] = ()) -> NDArray[np.int64]:
    """Return the row in ``features`` of each utterance's picture.

    Args:
        captions: ``SPLIT.tsv`` or ``SPLIT.wrd``; beside it lies ``SPLIT.img``.
        utterances: their number.
        features: features of the pictures.
        skipped: places of captions that fairseq leaves out.

    Raises:
        ImagesError: the file is not there or no UTF-8 text, has another number of lines, or names a picture that has
            no features.
    """
    file = captions.with_suffix(".img")
    if not file.is_file():
        raise ImagesError(
            file, "does not exist: the folder has captions alone; give each caption its picture's id, or alpha=0"
        )
    try:
        ids = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImagesError(file, unreadable(file, error)) from None
    if len(ids) != utterances:
        raise ImagesError(file, f"has {len(ids)} lines; {captions.name} has {utterances} captions")
    kept = [(line, name.strip()) for line, name in enumerate(ids) if line not in skipped]
    missing = [f"line {line + 1} ({name!r})" for line, name in kept if name not in features.rows]
    if missing:
        raise ImagesError(file, f"{len(missing)} picture(s) have no features in {features.path}: {listing(missing)}")
    return np.array([features.rows[name] for _, name in kept], dtype=np.int64)


def require_gallery(file: Path, rows: NDArray[np.int64]) -> None:
    """Check that captions show at least two pictures.

    Raises:
        ImagesError: they all show one picture.
    """
    if len(set(rows.tolist())) < 2:
        raise ImagesError(file, f"shows {len(set(rows.tolist()))} picture(s); retrieval needs two at least")
