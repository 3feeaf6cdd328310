"""The places of the package's own files, in a checkout and after an installation."""

from __future__ import annotations

from pathlib import Path

PLUGIN = Path(__file__).resolve().parents[1]


def configs() -> Path:
    """Return the folder of the YAMLs: beside the package in a checkout, inside it where pip installed it."""
    return _inside_or("configs", PLUGIN.parent / "configs")


def splits() -> Path:
    """Return the folder with the facts of the original splits, likewise."""
    return _inside_or("splits", PLUGIN.parent / "manifests" / "splits")


def _inside_or(name: str, checkout: Path) -> Path:
    inside = PLUGIN / name
    return inside if inside.is_dir() else checkout
