"""The machine, its load, the date and the versions, which every number depends on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import torch

from fairseq_parp import __version__
from fairseq_parp.environment.paths import PLUGIN

PEERS = ("torch", "numpy")


def facts() -> dict[str, str]:
    """Return the lines that are printed above the table."""
    versions = ", ".join(f"{name} {_version(name)}" for name in PEERS)
    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads used"
    return {
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "commit": _commit(),
        "machine": f"{_processor()}, {cores}; {platform.system()}",
        "versions": f"Python {platform.python_version()}, {versions}",
        "load": load(),
    }


def load() -> str:
    """Return the average number of processes that wanted to run over 1, 5 and 15 minutes."""
    return ", ".join(f"{value:.2f}" for value in os.getloadavg())


def _commit() -> str:
    """Return the checkout's commit, ``+`` after it where files differ; the version outside a checkout."""
    command = ["git", "-C", str(PLUGIN.parent), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return __version__


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.is_file() else None
    return found.group(1) if found else platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "is not installed"
