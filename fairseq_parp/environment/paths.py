"""Where the package's own files are, in a checkout and after an installation."""

from __future__ import annotations

from pathlib import Path

PLUGIN = Path(__file__).resolve().parents[1]


def configs() -> Path:
    """Return the folder of the YAMLs: beside the package in a checkout, inside it where pip installed it."""
    inside = PLUGIN / "configs"
    return inside if inside.is_dir() else PLUGIN.parent / "configs"
