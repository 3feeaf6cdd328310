"""Find the C++ compiler that fairseq's extensions need, before anything is downloaded."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping

from fairseq_parp.errors import MissingToolError

PROBE = "#include <Python.h>\n#include <vector>\nstd::vector<int> probe;\n"
INSTALL = (
    "install one (Debian, Ubuntu: apt install g++ python3-dev; Fedora: dnf install gcc-c++ python3-devel; "
    "macOS: xcode-select --install) or name it in CC and CXX"
)


def find_compilers(environ: Mapping[str, str]) -> dict[str, str]:
    """Return values of ``CC`` and ``CXX`` that can compile an extension of this Python.

    Both are needed: setuptools compiles with the one and links with the other. Python remembers the
    compiler that it was built with, which need not be the one on this machine.

    Raises:
        MissingToolError: no compiler is found, or it cannot compile (for example without Python headers).
    """
    found = {
        "CC": _first("CC", ("cc", "gcc", "clang"), environ),
        "CXX": _first("CXX", ("c++", "g++", "clang++"), environ),
    }
    command = [*shlex.split(found["CXX"]), "-x", "c++", "-fsyntax-only", f"-I{sysconfig.get_path('include')}", "-"]
    probe = subprocess.run(command, input=PROBE, capture_output=True, text=True, env=dict(environ), check=False)
    if probe.returncode != 0:
        reason = next((line for line in probe.stderr.splitlines() if "error" in line), probe.stderr.strip())
        raise MissingToolError(f"{found['CXX']} cannot compile an extension of {sys.executable} ({reason}): {INSTALL}")
    return found


def _first(variable: str, usual: tuple[str, ...], environ: Mapping[str, str]) -> str:
    asked = environ.get(variable)
    remembered = shlex.split(sysconfig.get_config_var(variable) or "")[:1]
    for command in [asked] if asked else [*remembered, *usual]:
        if shutil.which(shlex.split(command)[0], path=environ.get("PATH", os.defpath)):
            return command
    raise MissingToolError(f"no C++ compiler ({asked or ', '.join(usual)}), and fairseq has to be compiled: {INSTALL}")
