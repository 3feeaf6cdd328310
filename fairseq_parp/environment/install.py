"""Make the virtual environment: ``python -m fairseq_parp.environment.install .venv``.

Standard library only, since nothing is installed yet. The versions come from ``constraints.txt``.
fairseq is compiled while everything else is installed, because those two take most of the time.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from fairseq_parp.environment import choices
from fairseq_parp.environment.compiler import find_compilers
from fairseq_parp.errors import MissingToolError, ParpError, absolute

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = "constraints.txt"  # relative to ROOT, where every stage runs: PIP_CONSTRAINT allows no spaces
PYTHON = (sys.version_info.major, sys.version_info.minor)
MARKER = ".ready"
CHEAP_FLAGS = "-DNDEBUG -fwrapv -O1 -g0"
SIGN_OF_LIFE = 20  # seconds between two lines of a long stage

# pip would compile 11,000 modules to bytecode, for half a minute; these first imports leave the
# bytecode of the 3,000 that training and decoding use (an optimizer loads much of torch and all of sympy).
FIRST_USE = """
import sys
from fairseq_parp.cli import main
status = main(["doctor"])
if status == 0:
    import torch
    from fairseq_cli import generate, hydra_train
    torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])
sys.exit(status)
"""


class Stage:
    """One command of the set-up: starts at once, writes a log and prints its duration."""

    def __init__(self, name: str, command: Sequence[str | Path], log: Path, environ: Mapping[str, str]) -> None:
        self.name, self.log, self.started = name, log, time.monotonic()
        say(f"{name} ...")
        with log.open("w") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environ, cwd=ROOT)

    def succeeds(self) -> bool:
        """Wait for the end, with a line now and then, and return whether all went well."""
        while True:
            try:
                status = self.process.wait(timeout=SIGN_OF_LIFE)
            except subprocess.TimeoutExpired:
                say(f"{self.name} ... {self.seconds:.0f} s")
            else:
                say(f"{self.name}: {f'failed (status {status})' if status else 'done'}, {self.seconds:.0f} s")
                return status == 0

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def failure(self) -> MissingToolError:
        """Show the end of the log and return the error that points at the rest of it."""
        sys.stderr.write("".join(self.log.read_text(errors="replace").splitlines(keepends=True)[-15:]))
        return MissingToolError(f"{self.name} failed, see {absolute(self.log)}; then repeat the command")


def say(line: str) -> None:
    """Print one line of progress at once, also into a file."""
    print(f"set-up: {line}", flush=True)


def clean_environment() -> dict[str, str]:
    """Return the environment without variables that make pip read from or install to another place."""
    misleading = ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")
    return {name: value for name, value in os.environ.items() if name not in misleading}


@contextmanager
def build_environment(environ: Mapping[str, str], compilers: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield the environment that compiles fairseq's six extensions fast, several at a time.

    Low optimisation is for the three that include torch and that nothing here calls: the others set
    their own -O3. ninja is hidden by a stand-in that fails, because torch then writes one build.ninja
    for all extensions, which is a race when they are compiled side by side. Without CUDA_HOME fairseq
    compiles no CUDA extensions, which take long and which nothing here calls either.
    """
    with tempfile.TemporaryDirectory(prefix="fairseq-parp-") as name:
        folder = Path(name)
        options = folder / "build.cfg"
        options.write_text(f"[build_ext]\nparallel = {max(2, os.cpu_count() or 2)}\n")
        ninja = folder / "ninja"
        ninja.write_text("#!/bin/sh\nexit 1\n")
        ninja.chmod(0o755)
        yield {
            **{key: value for key, value in environ.items() if key != "CUDA_HOME"},
            **compilers,
            # Which of the two C++ is compiled with depends on the version of setuptools, and whether
            # it comes on top of Python's own flags too.
            **{flags: f"{environ.get(flags, '')} {CHEAP_FLAGS}".strip() for flags in ("CFLAGS", "CXXFLAGS")},
            "DIST_EXTRA_CONFIG": str(options),
            "PIP_CONSTRAINT": CONSTRAINTS,  # also for pip's build requirements
            "PATH": f"{folder}{os.pathsep}{environ.get('PATH', os.defpath)}",
        }


class Environment:
    """The virtual environment in the making, and the commands that fill it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.environ = folder.absolute(), clean_environment()

    def stage(self, name: str, arguments: Sequence[str], environ: Mapping[str, str] | None = None) -> Stage:
        """Start ``python ARGUMENTS`` of the environment; the log's name is the stage's first word."""
        log = self.folder / f"{name.split()[0]}.log"
        return Stage(name, [self.folder / "bin" / "python", *arguments], log, environ or self.environ)

    def pip(self, name: str, arguments: Sequence[str], environ: Mapping[str, str] | None = None) -> Stage:
        """Start ``pip install`` with the pinned versions."""
        quiet = ("--no-input", "--no-compile", "--progress-bar", "off", "--disable-pip-version-check")
        return self.stage(name, ["-m", "pip", "install", *quiet, "-c", CONSTRAINTS, *arguments], environ)

    def create(self) -> None:
        """Make the empty environment, and replace the remains of an interrupted attempt."""
        started = time.monotonic()
        venv.EnvBuilder(clear=True, symlinks=True, with_pip=True).create(self.folder)
        say(f"virtual environment {self.folder.name}: done, {time.monotonic() - started:.0f} s")

    def install_torch(self) -> None:
        """Install torch, and the other requirements of fairseq's compilation."""
        version = choices.pinned("torch", (ROOT / CONSTRAINTS).read_text())
        asked, gpu = os.environ.get("TORCH", ""), choices.has_gpu()
        attempts = choices.torch_choices(version, gpu=gpu, system=platform.system(), asked=asked)
        for attempt in attempts:
            stage = self.pip(f"torch and build tools ({attempt[0]})", [*attempt, *choices.TOOLCHAIN])
            if stage.succeeds():
                return
        failure = stage.failure()
        if len(attempts) == 1:
            raise failure
        raise MissingToolError(
            f"no CPU build of torch {version} in pip's indexes or at {choices.CPU_INDEX} (see {stage.log}); without "
            f"an NVIDIA GPU, PyPI's build brings gigabytes of CUDA: to accept it, make setup TORCH=torch=={version}"
        )

    def install_rest(self, compilers: Mapping[str, str]) -> None:
        """Build fairseq; meanwhile install its requirements, and this project with its extras."""
        name = choices.fairseq_distribution(PYTHON)
        how = "compiled here, the longest stage" if compilers else "a ready wheel"
        with build_environment(self.environ, compilers) as environ:
            building = self.pip(f"{name} ({how})", choices.fairseq_arguments(PYTHON), environ)
            rest = ["--no-build-isolation", "-e", ".[demo,test]", *choices.FAIRSEQ_NEEDS]
            adding = self.pip("requirements and the project", rest, {**self.environ, **compilers})
            failed = [stage for stage in (adding, building) if not stage.succeeds()]
        if failed:
            raise failed[0].failure()

    def check(self) -> None:
        """Run the doctor on the result, and import once the modules of training and decoding."""
        stage = self.stage("check and first imports", ["-c", FIRST_USE])
        if not stage.succeeds():
            raise stage.failure()


def check_folder(folder: Path) -> None:
    """Refuse to clear a folder that holds anything but a virtual environment."""
    if folder.exists() and not (folder / "pyvenv.cfg").exists() and any(folder.iterdir()):
        raise MissingToolError(f"{absolute(folder)} is not a virtual environment, and would be emptied: choose another")


def install(folder: Path) -> None:
    """Make the environment in ``folder`` from nothing, and mark it as complete at the very end.

    Raises:
        MissingToolError: Python is too old, a compiler is missing, or pip cannot get something.
    """
    if PYTHON < choices.OLDEST_PYTHON or importlib.util.find_spec("ensurepip") is None:
        oldest = ".".join(map(str, choices.OLDEST_PYTHON))
        raise MissingToolError(f"{sys.executable} cannot be used: Python >= {oldest} with venv and ensurepip is needed")
    check_folder(folder)
    compilers = find_compilers(os.environ) if choices.is_compiled_here(PYTHON, platform.machine()) else {}
    environment = Environment(folder)
    environment.create()
    environment.install_torch()
    environment.install_rest(compilers)
    environment.check()
    (folder / MARKER).touch()


def main(arguments: Sequence[str]) -> int:
    """Run the set-up; a failure ends in one line on standard error and status 2."""
    started = time.monotonic()
    try:
        install(Path(*arguments))
    except ParpError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("set-up: interrupted; repeat the command to start again", file=sys.stderr)
        return 130
    say(f"ready after {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
