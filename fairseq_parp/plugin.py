"""Registers the plugin with fairseq from Python."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

_REGISTERED = ("criterions", "models", "tasks")
"""Folders whose modules register something with fairseq."""


def load_plugin() -> None:
    """Register criteria, models and tasks with fairseq, as ``common.user_dir`` does."""
    from argparse import Namespace

    from fairseq.utils import import_user_module

    here = Path(__file__).parent
    import_user_module(Namespace(user_dir=str(here)))
    # Where this package was imported under its own name before, fairseq takes it for loaded.
    for folder in _REGISTERED:
        for module in pkgutil.iter_modules([str(here / folder)]):
            importlib.import_module(f"fairseq_parp.{folder}.{module.name}")
