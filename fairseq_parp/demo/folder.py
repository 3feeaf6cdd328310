"""The folder that a demo makes, and replaces when it runs again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fairseq_parp.commands.arguments import quoted
from fairseq_parp.errors import ConfigError, absolute
from fairseq_parp.files import writing_to

_MARK = ".fairseq-parp-demo"


def prepare(out: Path) -> None:
    """Empty a folder, but only if an earlier demo made it.

    Raises:
        ConfigError: it holds something that no demo made.
    """
    if out.exists() and not (out / _MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError("--out", absolute(out), "holds something that no demo made; name a new or empty folder")
    shutil.rmtree(out, ignore_errors=True)
    with writing_to(out):
        out.mkdir(parents=True)
        (out / _MARK).touch()


def short(path: Path) -> str:
    """Return a path as one would type it here: relative where that is shorter."""
    return min(os.path.relpath(path), absolute(path), key=len)


def typed(path: Path) -> str:
    """Return a path as one would type it here as a value of a hydra override."""
    return quoted(short(path))
