"""One exception class per cause of failure; every message is one line that a user can act on.

The command line and fairseq's own commands end in that line, with a non-zero exit status and no
traceback. The values in the message are attributes of the exception.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


class ParpError(Exception):
    """Base of every error that a user's input can cause."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class ConfigError(ParpError):
    """A configuration key has a value that is not allowed, or does not exist."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        shown = fspath(value) if isinstance(value, PathLike) else value
        super().__init__(f"{key}={shown!r}: {allowed}")
        self.key, self.value, self.allowed = key, value, allowed


class ScopeError(ParpError):
    """A scope expression finds no parameter, or finds one twice."""


class WeightsError(ParpError):
    """A weight is NaN or infinite when it has to be ranked."""

    def __init__(self, parameter: str, count: int, update: int | None = None) -> None:
        when = "" if update is None else f" at update {update}"
        super().__init__(f"{parameter}: {count} NaN or infinite value(s){when}; cannot rank them by magnitude")
        self.parameter, self.count, self.update = parameter, count, update


class LossError(ParpError):
    """The loss, or its gradient, is no number any more."""


class MaskError(ParpError):
    """A mask file is damaged, or belongs to another model."""


class CheckpointError(ParpError):
    """A checkpoint cannot be read, is not one, or would run code when loaded."""

    def __init__(self, path: str | PathLike[str], reason: str) -> None:
        super().__init__(f"{fspath(path)}: {reason}")
        self.path, self.reason = fspath(path), reason


class UnreadableCheckpointError(CheckpointError):
    """A file is missing, damaged or no checkpoint, or would run code when loaded: only another file helps."""


class DictionaryError(ParpError):
    """A dictionary of labels is not the one that a checkpoint was trained with."""

    def __init__(self, where: str, path: str, difference: str, way_out: str) -> None:
        super().__init__(f"{where}: another dictionary than {path} was trained with: {difference}; {way_out}")
        self.where, self.path, self.difference = where, path, difference


class OptimizerError(CheckpointError):
    """A resumed run's optimizer cannot load the state of the checkpoint's."""


class ResumeError(ParpError):
    """A run is resumed with settings other than those it was started with."""

    def __init__(self, key: str, saved: object, asked: object, way_out: str = "") -> None:
        super().__init__(
            f"{key}: the checkpoint was trained with {saved!r}, this command asks for {asked!r}; "
            f"repeat the original command, or {way_out or 'choose another checkpoint.save_dir'}"
        )
        self.key, self.saved, self.asked = key, saved, asked


class ExperimentError(ParpError):
    """Commands of an experiment failed."""


class ExperimentFolderError(ParpError):
    """The folder of an experiment has the output of another experiment.

    Its runs, masks, decodings and rows of results depend on each other, so only the whole folder can be removed.
    """

    def __init__(self, file: str | PathLike[str], was: str, asked: str, folder: str | PathLike[str]) -> None:
        super().__init__(
            f"{absolute(file)} belongs to another experiment: it has {was!r} where this one has {asked!r}; "
            f"name another --out, or remove the whole folder {absolute(folder)}"
        )
        self.file, self.was, self.asked = absolute(file), was, asked


class ExperimentInputError(ParpError):
    """A file that a step of an experiment has read has another content now."""

    def __init__(self, file: str, step: str, then: str, now: str, folder: str | PathLike[str]) -> None:
        super().__init__(
            f"{file} has changed since step {step!r} read it: its SHA-256 was {then}, it is {now}; "
            f"put the file back as it was, name another --out, or remove the whole folder {absolute(folder)}"
        )
        self.file, self.step, self.then, self.now = file, step, then, now


class ItemError(ParpError):
    """An item file is damaged, or does not fit the audio or the model."""


class FolderInUseError(ParpError):
    """Another process trains into the folder that this run would save into."""

    @classmethod
    def of(cls, folder: str | PathLike[str], holder: Mapping[str, object]) -> FolderInUseError:
        """Name the process that holds the folder, its host and its start, as far as its lock file names them."""
        process = f"process {holder['process']} on {holder.get('host')}" if "process" in holder else "another process"
        since = f" since {holder['started']}" if "started" in holder else ""
        return cls(
            f"checkpoint.save_dir={absolute(folder)} is in use: {process} has been training into it{since}; "
            "wait until it ends, end it, or choose another checkpoint.save_dir"
        )


class RankError(ParpError):
    """Two ranks of one distributed training have different masks."""

    def __init__(self, rank: int, update: int) -> None:
        super().__init__(
            f"rank {rank} has another mask than rank 0 after update {update}: their weights have drifted apart; "
            "resume from the last checkpoint, and look for differing hardware or a faulty device"
        )
        self.rank, self.update = rank, update


class PrecisionError(ParpError):
    """A numeric precision that cannot run on this device, or cannot be kept exact."""


class AudioError(ParpError):
    """An audio file is missing, unreadable or of the wrong kind."""

    def __init__(self, path: str | PathLike[str], reason: str) -> None:
        super().__init__(f"{fspath(path)}: {reason}")
        self.path, self.reason = fspath(path), reason


class ImagesError(ParpError):
    """Pictures, or the features of pictures, are missing, damaged, or do not fit the captions or the model."""

    def __init__(self, path: str | PathLike[str], reason: str) -> None:
        super().__init__(f"{absolute(path)}: {reason}")
        self.path, self.reason = absolute(path), reason


class LanguageModelError(ParpError):
    """A language model or a lexicon is missing or has a fault; ``path`` may end in ``:LINE``."""

    def __init__(self, path: str | PathLike[str], reason: str) -> None:
        super().__init__(f"{absolute(path)}: {reason}")
        self.path, self.reason = absolute(path), reason


class TokenizerError(ParpError):
    """A tokenizer of text is missing, damaged, or another one than a checkpoint's."""

    def __init__(self, path: str | PathLike[str], reason: str) -> None:
        super().__init__(f"{fspath(path)}: {reason}")
        self.path, self.reason = fspath(path), reason


class ManifestError(ParpError):
    """A manifest folder has problems; ``problems`` holds one line each, with file and line."""

    def __init__(self, problems: Sequence[str]) -> None:
        more = "" if len(problems) == 1 else f" (and {len(problems) - 1} more; fairseq-parp manifest check shows all)"
        super().__init__(problems[0] + more)
        self.problems = list(problems)


class IncompleteSplitError(ManifestError):
    """Official splits that are not all there; each problem has the number of missing utterances."""


class ExperimentFileError(ParpError):
    """A file of an experiment, such as its results, is missing or has a fault."""

    def __init__(self, path: str | PathLike[str], reason: str) -> None:
        super().__init__(f"{absolute(path)}: {reason}")
        self.path, self.reason = absolute(path), reason


class ComparisonError(ParpError):
    """Two systems cannot be compared: no seed in common, or other utterances."""


class ExtensionError(ParpError):
    """An installed extension of this package cannot be loaded."""


class PartError(ParpError):
    """A part cannot be made or read, is over another base, or is of a language that is not loaded."""

    def __init__(self, path: str | PathLike[str], reason: str) -> None:
        super().__init__(f"{absolute(path)}: {reason}")
        self.path, self.reason = absolute(path), reason


class ExportError(ParpError):
    """A model cannot be held by the format that it is exported to or imported from, or came out changed."""


class MissingToolError(ParpError):
    """Something outside the package (a compiler, a library, an extra) is not there."""


def unknown_key(key: str, value: object, written: str, known: Sequence[str]) -> ConfigError:
    """Return the error of a key that does not exist, with the known one that it resembles.

    Args:
        key: the key with its groups.
        value: its value.
        written: the last part of the key, as written.
        known: last parts of the existing keys.
    """
    close = difflib.get_close_matches(written, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return ConfigError(key, value, f"no such key; {hint}Known keys: {', '.join(known)}")


def listing(names: Iterable[object], most: int = 6) -> str:
    """Join names for a message, cut after ``most`` with a count of the rest.

    >>> listing(["a", "b", "c"], most=2)
    'a, b, ... (1 more)'
    """
    every = [str(name) for name in names]
    shown = ", ".join(every[:most])
    return shown if len(every) <= most else f"{shown}, ... ({len(every) - most} more)"


def absolute(path: str | PathLike[str]) -> str:
    """Return the absolute path for a message, so that the reader sees the place of the file."""
    return str(Path(path).expanduser().absolute())


def first_line(error: BaseException) -> str:
    """Return an exception's name and the first line of its text, for the inside of a message.

    A line that only announces the next ones is passed over.

    >>> first_line(RuntimeError("Error(s) in loading state_dict for Linear:\\n\\tsize mismatch for weight"))
    'RuntimeError: size mismatch for weight'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):
        del lines[0]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


class OneLineExit(SystemExit):
    """Ends one of fairseq's commands with one line on standard error and status 1.

    Hydra prints a traceback for every other exception. ``error`` is the typed error that was raised.
    """

    def __init__(self, error: ParpError) -> None:
        super().__init__(f"fairseq_parp: {error}")
        self.error = error


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a :class:`ParpError` into :class:`OneLineExit`, unless HYDRA_FULL_ERROR=1 asks for a traceback.

    In a job of hydra's sweep (``-m``) it becomes hydra's own one-line exception: an exit would end the whole sweep,
    and a launcher such as submitit's could not unpickle an exception of this plugin.
    """
    try:
        yield
    except ParpError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        if hydra_of_sweep() is not None:
            logger.error(str(error))  # hydra reports the first failed job only
            from hydra.errors import CompactHydraException

            raise CompactHydraException(f"fairseq_parp: {error}") from error
        raise OneLineExit(error) from error


def hydra_of_sweep() -> Any:
    """Return the node ``hydra`` of the config where this process runs a job of a sweep; None elsewhere."""
    module = sys.modules.get("hydra.core.hydra_config")  # commands that need no fairseq run without hydra
    config = None if module is None else module.HydraConfig.instance().cfg
    if config is None:
        return None
    from omegaconf import OmegaConf

    return None if OmegaConf.is_missing(config.hydra.job, "num") else config.hydra


def error_of(stop: BaseException) -> ParpError | None:
    """Return the typed error that :func:`one_line_errors` turned into ``stop``; None for any other exception."""
    return stop.__cause__ if isinstance(stop.__cause__, ParpError) else None
