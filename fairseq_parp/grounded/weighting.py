"""The weight alpha of the pictures' loss: one number, or piecewise constant over the updates."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass

from fairseq_parp.errors import ConfigError

_KEY = "criterion.alpha"


@dataclass(frozen=True)
class Alpha:
    """Weight of the pictures' loss over the updates; that of wav2vec 2.0's own loss is 1 - alpha.

    Attributes:
        steps: updates, increasing from 0, each with the weight from then on.

    >>> alpha = Alpha(((0, 0.0), (1000, 0.5)))
    >>> alpha.at(999), alpha.at(1000)
    (0.0, 0.5)
    """

    steps: tuple[tuple[int, float], ...]

    def at(self, update: int) -> float:
        """Return the weight in the update before which ``update`` updates were made."""
        return [weight for start, weight in self.steps if start <= update][-1]

    @property
    def trains_pictures(self) -> bool:
        """Whether the pictures' loss ever has a weight."""
        return any(weight > 0 for _, weight in self.steps)

    @property
    def trains_speech(self) -> bool:
        """Whether wav2vec 2.0's own loss ever has a weight."""
        return any(weight < 1 for _, weight in self.steps)

    @property
    def uses_all_parts(self) -> bool:
        """Whether every update trains the same parts of the model."""
        return len({(weight > 0, weight < 1) for _, weight in self.steps}) == 1

    def require_reached(self, updates: int) -> None:
        """Check that a run of the given updates, 0 if it ends by epochs, reaches every step.

        Raises:
            ConfigError: it ends before the last one.
        """
        if 0 < updates <= self.steps[-1][0]:
            allowed = f"changes at update {self.steps[-1][0]}, and the run ends with optimization.max_update={updates}"
            raise ConfigError(_KEY, [list(step) for step in self.steps], allowed)


def read_alpha(value: object) -> Alpha:
    """Read ``criterion.alpha``: a number, or ``[update, alpha]`` pairs.

    Raises:
        ConfigError: the value is neither, a weight lies outside of 0 to 1, or the updates do not increase from 0.
    """
    if _is_number(value):
        return Alpha(((0, _weight(value, value)),))
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        allowed = "must be a number from 0 to 1, or pairs [update, alpha] such as [[0, 0], [1000, 0.5]]"
        raise ConfigError(_KEY, value, allowed)
    steps: list[tuple[int, float]] = []
    for pair in value:
        if not isinstance(pair, Sequence) or len(pair) != 2 or not _is_number(pair[1]):
            raise ConfigError(_KEY, _plain(value), f"{_plain(pair)!r} must be a pair [update, alpha]")
        update = pair[0]
        if isinstance(update, bool) or not isinstance(update, int):
            raise ConfigError(_KEY, _plain(value), f"{update!r} must be a whole number of updates")
        if not steps and update != 0:
            raise ConfigError(_KEY, _plain(value), f"must start at update 0, not {update}")
        if steps and update <= steps[-1][0]:
            raise ConfigError(_KEY, _plain(value), f"goes back in time: update {update} follows {steps[-1][0]}")
        steps.append((update, _weight(pair[1], value)))
    return Alpha(tuple(steps))


def _weight(weight: object, value: object) -> float:
    if not 0 <= float(weight) <= 1:  # type: ignore[arg-type]
        allowed = f"{weight!r} must be between 0 (wav2vec 2.0's loss alone) and 1 (pictures alone)"
        raise ConfigError(_KEY, _plain(value), allowed)
    return float(weight)  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _plain(value: object) -> object:
    """Return nested sequences as lists, for a message."""
    return list(map(_plain, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value
