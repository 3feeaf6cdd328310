"""Records the finished steps of an experiment: one small file a step, beside the step's output."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_parp.errors import ExperimentFolderError, ExperimentInputError
from fairseq_parp.experiments.inputs import digests
from fairseq_parp.experiments.steps import Step
from fairseq_parp.files import write_whole


@dataclass(frozen=True)
class Progress:
    """The state of the steps in the folder ``out``.

    A step is written down before its command starts, so that a folder names its command, and again
    when the command has ended well.
    """

    out: Path

    def finished(self, step: Step) -> bool:
        """Return whether a step is done and its product is there."""
        return self._read(step).get("finished", False) and step.product.is_file()

    def left(self, steps: Iterable[Step]) -> list[Step]:
        """Return the steps that are not finished."""
        return [step for step in steps if not self.finished(step)]

    def require_same(self, steps: Iterable[Step]) -> None:
        """Check that finished steps were made by the same commands from the same files.

        Raises:
            ExperimentFolderError: a step of that name was started with another command.
            ExperimentInputError: the content of a file that a step has read has changed.
        """
        for step in steps:
            record = self._read(step)
            if not record:
                continue
            if record["argv"] != list(step.argv):
                raise ExperimentFolderError(self._file(step), *_first_difference(record["argv"], step.argv), self.out)
            for file, now in digests(step.reads).items():
                then = record["inputs"].get(file, "not recorded")
                if then != now:
                    raise ExperimentInputError(file, step.name, then, now, self.out)

    def write(self, step: Step, *, finished: bool) -> None:
        """Record that a step starts, or has ended well, with digests of the files that it read at its first start."""
        inputs = self._read(step).get("inputs") or digests(step.reads)
        content = {"argv": list(step.argv), "inputs": inputs, "finished": finished}
        write_whole(self._file(step), json.dumps(content, indent=1).encode())

    def _file(self, step: Step) -> Path:
        return self.out / "steps" / f"{step.file_name}.json"

    def _read(self, step: Step) -> dict[str, Any]:
        """Return the record of a step; empty for one that has not started."""
        file = self._file(step)
        if not file.is_file():
            return {}
        try:
            record = dict(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            raise ExperimentFolderError(file, "unreadable content", "a JSON object", self.out) from None
        record.setdefault("argv", record.pop("words", None))  # "words" until 0.1
        record.setdefault("inputs", {})  # not recorded until 0.1
        for key, (allowed, holds) in _FIELDS.items():
            value = record.get(key)
            if not holds(value):
                raise ExperimentFolderError(file, f"{key} {value!r}", allowed, self.out)
        return record


def _texts(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "argv": ("a list of texts", lambda value: isinstance(value, list) and _texts(value)),
    "inputs": ("digests by file", lambda value: isinstance(value, dict) and _texts(value.values())),
    "finished": ("true or false", lambda value: isinstance(value, bool)),
}
"""The fields of a step's record, with a description of their values and a check."""


def _first_difference(was: list[str], asked: Iterable[str]) -> tuple[str, str]:
    pairs = zip([*was, ""], [*asked, ""], strict=False)
    return next(((one, other) for one, other in pairs if one != other), ("more", "less"))
