"""Finds faults of this environment, and their remedies.

Each check inspects the libraries and yields the problems of one kind.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from fairseq_parp import native
from fairseq_parp.environment import libraries
from fairseq_parp.environment.choices import CPU_INDEX, OLDEST_PYTHON, TOOLCHAIN, fairseq_arguments, has_gpu
from fairseq_parp.environment.libraries import Library, numbers
from fairseq_parp.environment.paths import PLUGIN, configs

PYTHON = (sys.version_info.major, sys.version_info.minor)
SAFE_TORCH = (2, 6)
EXTENSIONS = ("fairseq.data.data_utils_fast", "fairseq.data.token_block_utils_fast")
GET_FAIRSEQ = (
    f"make setup; or, where torch is installed: pip install {' '.join(TOOLCHAIN[1:])}, "
    f"then pip install {' '.join(fairseq_arguments(PYTHON))}"
)

# The versions that a fairseq was written for: from the first up to, not including, the second.
WRITTEN_FOR = {
    "fairseq-fixed": {"hydra-core": ("1.1", "1.4"), "omegaconf": ("2.1", "2.4")},
    "fairseq": {"hydra-core": ("1.0.7", "1.1"), "omegaconf": ("2.0", "2.1")},
}

# Part of the message with which fairseq's import fails, and its remedy.
SYMPTOMS = {
    "mutable default": "this fairseq needs Python <= 3.10; for a newer one: pip uninstall fairseq, then " + GET_FAIRSEQ,
    "module 'numpy' has no attribute": "pip install 'numpy<1.24'",
    "No module named": "pip install the module that is named",
}


@dataclass(frozen=True)
class Problem:
    """Something wrong and how to mend it; ``harmless`` where this project works all the same."""

    what: str
    mend: str
    harmless: bool = False


@dataclass(frozen=True)
class Facts:
    """The facts that the checks inspect; ``distributions`` are the installed packages with a fairseq, with versions."""

    library: dict[str, Library]
    distributions: dict[str, str]


@dataclass(frozen=True)
class Diagnosis:
    """The report of ``fairseq-parp doctor``; ``paths`` are the paths that fairseq's own commands need."""

    python: str
    libraries: list[Library]
    problems: list[Problem]
    paths: dict[str, str]

    @property
    def broken(self) -> bool:
        """Whether something has to be mended before this project can work."""
        return any(not problem.harmless for problem in self.problems)

    def to_json(self) -> str:
        """Return the report for another program."""
        return json.dumps({**asdict(self), "broken": self.broken}, indent=2)


def examine() -> Diagnosis:
    """Import the installed libraries, and return their versions and every problem."""
    found = {name: libraries.look_at(name, module) for name, module in libraries.LIBRARIES.items()}
    distributions = libraries.fairseq_distributions()
    found["fairseq"] = libraries.with_origin(found["fairseq"], distributions)
    facts = Facts(found, distributions)
    problems = [problem for check in CHECKS for problem in check(facts)]
    paths = {"user_dir": str(PLUGIN), "configs": str(configs())}
    return Diagnosis(f"{sys.version.split()[0]} ({sys.executable})", list(found.values()), problems, paths)


def check_python(_facts: Facts) -> Iterator[Problem]:
    """Python itself."""
    if PYTHON < OLDEST_PYTHON:
        needed = ".".join(map(str, OLDEST_PYTHON))
        yield Problem(f"Python {sys.version.split()[0]} is too old", f"use Python {needed} or newer")


def check_torch(facts: Facts) -> Iterator[Problem]:
    """Torch: there, and new enough to load checkpoints safely."""
    torch = facts.library["torch"]
    if torch.version is None:
        yield Problem("torch is not installed", f"make setup, or pip install torch --index-url {CPU_INDEX} (CPU)")
    elif torch.error:
        yield Problem(f"torch {torch.version} does not import ({torch.error})", "reinstall torch")
    elif torch.release < SAFE_TORCH:
        yield Problem(
            f"torch {torch.version} lets a checkpoint run any code when it is loaded",
            "upgrade to torch 2.6 or newer; until then load only checkpoints that you trust",
        )
    elif torch.detail == "CPU build" and has_gpu():
        yield Problem("there is an NVIDIA GPU, but torch is a CPU build", "install torch from PyPI", harmless=True)


def check_fairseq(facts: Facts) -> Iterator[Problem]:
    """Fairseq: there, only once, and it imports."""
    fairseq = facts.library["fairseq"]
    if len(facts.distributions) > 1:
        names = " and ".join(f"{name} {version}" for name, version in facts.distributions.items())
        yield Problem(f"{names} are both installed, and overwrite each other", f"uninstall both, then {GET_FAIRSEQ}")
    if fairseq.version is None:
        yield Problem("fairseq is not installed", GET_FAIRSEQ)
    elif fairseq.error and facts.library["torch"].works:  # else torch is the cause
        mend = next((mend for symptom, mend in SYMPTOMS.items() if symptom in fairseq.error), GET_FAIRSEQ)
        yield Problem(f"fairseq {fairseq.version} does not import ({fairseq.error})", mend)


def check_companions(facts: Facts) -> Iterator[Problem]:
    """Versions of hydra and omegaconf against those that this distribution of fairseq was written for."""
    fairseq = facts.library["fairseq"]
    for name, (low, high) in WRITTEN_FOR.get(fairseq.detail.removeprefix("from "), {}).items():
        other = facts.library[name]
        if other.version and not numbers(low) <= other.release < numbers(high):
            what = f"{name} {other.version} does not fit fairseq {fairseq.version} {fairseq.detail}"
            yield Problem(what, f"pip install '{name}>={low},<{high}'", harmless=fairseq.works)


def check_parts(facts: Facts) -> Iterator[Problem]:
    """The compiled parts of fairseq that batching needs."""
    for name in EXTENSIONS if facts.library["fairseq"].works else ():
        if error := libraries.try_import(name)[1]:
            mend = "in a checkout: python setup.py build_ext --inplace; else reinstall fairseq with a C++ compiler"
            yield Problem(f"{name}, a compiled part of fairseq, does not import ({error})", mend)


def check_checkpoints(facts: Facts) -> Iterator[Problem]:
    """The part of fairseq that reads and writes checkpoints, around which much of this project is built."""
    if facts.library["fairseq"].works and (error := libraries.try_import("fairseq.checkpoint_utils")[1]):
        yield Problem(f"fairseq.checkpoint_utils does not import ({error})", GET_FAIRSEQ)


def check_others(facts: Facts) -> Iterator[Problem]:
    """Everything else that the plugin imports."""
    for library in facts.library.values():
        if library.name in ("torch", "fairseq", "torchaudio", "flashlight-text"):
            continue
        if library.error:
            what = f"{library.name} {library.version} does not import ({library.error})"
            yield Problem(what, f"pip install --force-reinstall --no-deps {library.name}")
        elif library.version is None:
            yield Problem(f"{library.name} is not installed", f"pip install {library.name}")


def check_torchaudio(facts: Facts) -> Iterator[Problem]:
    """torchaudio, which fairseq asks for and hardly uses: often built for another torch."""
    if facts.library["torchaudio"].error:
        yield Problem("torchaudio does not import", "not needed here; pip uninstall torchaudio", harmless=True)


def check_native(_facts: Facts) -> Iterator[Problem]:
    """The parts in C++, which make re-pruning and prefix beam search faster and are not needed."""
    for part in native.PARTS:
        if native.load(part) is None:
            yield Problem(
                f"fairseq_parp.{part} is not compiled, or from another version of its source",
                "to re-prune and decode faster on a CPU, with a C++ compiler: pip install this project again (in a "
                "checkout: python setup.py build_ext --inplace); numpy and torch do the same otherwise",
                harmless=True,
            )


def check_flashlight(facts: Facts) -> Iterator[Problem]:
    """flashlight-text, without which all but decoding with a language model works."""
    flashlight = facts.library["flashlight-text"]
    if flashlight.error:
        what = f"flashlight-text {flashlight.version} does not import ({flashlight.error})"
        yield Problem(what, "for language models: pip install --force-reinstall flashlight-text", harmless=True)


Check = Callable[[Facts], Iterator[Problem]]
CHECKS: tuple[Check, ...] = (
    check_python,
    check_torch,
    check_fairseq,
    check_companions,
    check_parts,
    check_checkpoints,
    check_others,
    check_torchaudio,
    check_native,
    check_flashlight,
)
