"""Lists the installed libraries with versions, and the origin of fairseq, without importing them."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import re
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import ModuleType

from fairseq_parp import __version__

# Name on PyPI and name to import, in the order of the report.
LIBRARIES = {
    "torch": "torch",
    "numpy": "numpy",
    "omegaconf": "omegaconf",
    "hydra-core": "hydra",
    "soundfile": "soundfile",
    "editdistance": "editdistance",
    "jiwer": "jiwer",
    "rich": "rich",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "soxr": "soxr",
    "tqdm": "tqdm",
    "xxhash": "xxhash",
    "flashlight-text": "flashlight.lib.text",
    "torchaudio": "torchaudio",
    "fairseq": "fairseq",
}


@dataclass(frozen=True)
class Library:
    """A library as it is here: no ``version`` if it is absent, an ``error`` if it does not import."""

    name: str
    version: str | None = None
    error: str | None = None
    folder: str | None = None
    detail: str = ""

    @property
    def works(self) -> bool:
        """Whether it is there and imports."""
        return self.version is not None and self.error is None

    @property
    def release(self) -> tuple[int, ...]:
        """The numbers of the version, for comparisons."""
        return numbers(self.version or "")


def numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version.

    >>> numbers("2.13.0+cpu"), numbers("1.0.0a0") < numbers("1.0.1")
    ((2, 13, 0), True)
    """
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3])


def try_import(module: str) -> tuple[ModuleType | None, str | None]:
    """Import a module, and return it, or the reason why it does not import."""
    try:
        with redirect_stdout(sys.stderr):  # some print while they load, and standard output is the report's
            return importlib.import_module(module), None
    except (Exception, SystemExit) as error:
        return None, " ".join(f"{type(error).__name__}: {error}".split())


def look_at(name: str, module: str) -> Library:
    """Describe one library, absent, broken or well."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # not even the package that the module is in
        spec = None
    if spec is None or spec.origin is None:  # without an origin it is just a folder of that name
        return Library(name)
    imported, error = try_import(module)
    version = installed_version(name) or str(getattr(imported, "__version__", "unknown"))
    detail = torch_build(imported) if name == "torch" and imported else ""
    return Library(name, version, error, str(Path(spec.origin).parent), detail)


def installed_version(distribution: str) -> str | None:
    """Return the version that pip knows of a distribution."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def torch_build(torch: ModuleType) -> str:
    """Return the device that this torch was built for."""
    for name, attribute in (("CUDA", "cuda"), ("ROCm", "hip")):
        if version := getattr(getattr(torch, "version", None), attribute, None):
            return f"{name} {version} build"
    return "CPU build"


def fairseq_distributions() -> dict[str, str]:
    """Return name and version of every installed distribution that holds a fairseq."""
    names = sorted(set(metadata.packages_distributions().get("fairseq", [])))
    return {name: metadata.version(name) for name in names}


@lru_cache
def versions() -> str:
    """Return the versions that a result depends on, in one line."""
    fairseq = [f"{name} {number}" for name, number in fairseq_distributions().items()]
    torch = try_import("torch")[0]
    others = [f"torch {getattr(torch, '__version__', 'unknown')}", f"Python {platform.python_version()}"]
    return ", ".join([*fairseq, *others, f"fairseq_parp {__version__}"])


def with_origin(fairseq: Library, distributions: dict[str, str]) -> Library:
    """Add the origin of fairseq: an installed distribution's, or that of a checkout on the path."""
    if fairseq.folder is None:
        return fairseq
    place = Path(fairseq.folder)
    for name, version in distributions.items():
        if Path(str(metadata.distribution(name).locate_file("fairseq"))).resolve() == place.resolve():
            return replace(fairseq, version=version, detail=f"from {name}")
    written = place / "version.txt"
    number = written.read_text().strip() if written.is_file() else fairseq.version
    return replace(fairseq, version=number, detail=f"a checkout, {place.parent}")
