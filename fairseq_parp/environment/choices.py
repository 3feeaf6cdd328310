"""The packages that the set-up installs for this Python and this machine. Standard library only."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

from fairseq_parp.errors import MissingToolError

OLDEST_PYTHON = (3, 10)
CPU_INDEX = "https://download.pytorch.org/whl/cpu"

# The imports of fairseq's setup.py. pip is listed because constraints.txt holds it back for Python 3.10.
TOOLCHAIN = ("pip", "setuptools", "wheel", "cython", "numpy")

# fairseq's own requirements. It is installed with --no-deps, else it brings torchaudio, whose wheel does
# not import beside a CPU torch. scikit-learn stays: fairseq imports it as soon as its tasks are loaded.
FAIRSEQ_NEEDS = (
    "bitarray",
    "cffi",
    "hydra-core",
    "omegaconf",
    "packaging",
    "regex",
    "sacrebleu",
    "scikit-learn",
    "tqdm",
)


def fairseq_distribution(python: tuple[int, int]) -> str:
    """Name the distribution on PyPI whose fairseq this Python can import.

    >>> fairseq_distribution((3, 10)), fairseq_distribution((3, 11))
    ('fairseq', 'fairseq-fixed')
    """
    return "fairseq-fixed" if python >= (3, 11) else "fairseq"


def fairseq_arguments(python: tuple[int, int]) -> list[str]:
    """Return pip's arguments for fairseq.

    fairseq-fixed has to see the installed torch while it is built, or pip fetches another one first.
    The official sdist must not see one: it lacks the sources of the extensions that it would add then.

    >>> fairseq_arguments((3, 11))
    ['--no-deps', '--no-build-isolation', 'fairseq-fixed']
    """
    name = fairseq_distribution(python)
    return ["--no-deps", name] if name == "fairseq" else ["--no-deps", "--no-build-isolation", name]


def is_compiled_here(python: tuple[int, int], machine: str) -> bool:
    """Return whether fairseq has to be compiled: its one current wheel is for Python 3.12 on x86-64.

    >>> is_compiled_here((3, 11), "x86_64"), is_compiled_here((3, 12), "x86_64")
    (True, False)
    """
    return python != (3, 12) or machine not in ("x86_64", "AMD64")


def has_gpu() -> bool:
    """Look for an NVIDIA driver or device, without importing anything."""
    return shutil.which("nvidia-smi") is not None or any(Path("/dev").glob("nvidia[0-9]*"))


def pinned(name: str, constraints: str) -> str:
    r"""Return the version that the text of constraints.txt pins a distribution to.

    >>> pinned("torch", "numpy==2.0\ntorch==2.13.0\n")
    '2.13.0'
    """
    found = re.search(rf"^{re.escape(name)}==([^\s;]+)", constraints, re.MULTILINE)
    if found is None:
        raise MissingToolError(f"constraints.txt does not pin {name}")
    return found.group(1)


def torch_choices(version: str, *, gpu: bool, system: str, asked: str = "") -> list[list[str]]:
    """Return pip's arguments for torch, those to be tried first at the head.

    On Linux without a GPU the plain requirement is left out: from PyPI it means gigabytes of CUDA.
    PyTorch's own index comes second and gives up soon, because it cannot be reached from everywhere.
    """
    if asked:
        return [shlex.split(asked)]
    if gpu or system != "Linux":
        return [[f"torch=={version}"]]
    cpu = f"torch=={version}+cpu"
    return [[cpu], [cpu, "--extra-index-url", CPU_INDEX, "--retries", "1", "--timeout", "20"]]
