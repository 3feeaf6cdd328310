"""Published facts of the original splits, from ``manifests/splits/``: sizes, and digests of the utterance ids."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256

from fairseq_parp.environment.paths import splits


@dataclass(frozen=True)
class Fact:
    """The facts about a split.

    Attributes:
        utterances: number of utterances.
        frames: their total length in samples at 16 kHz.
        ids_sha256: :func:`digest` of their ids.
        frames_within: relative difference of ``frames`` that is allowed; decoders pad differently.
        confirmed: False where the ids were rebuilt from the published algorithm, so that a difference warns only.
    """

    utterances: int
    frames: int
    ids_sha256: str
    frames_within: float = 0.0
    confirmed: bool = True


Facts = Mapping[str, Fact]
"""The facts of a corpus by the name of the split; a split without one cannot be checked."""


def digest(ids: Collection[str]) -> str:
    """Return the SHA-256 of the sorted ids joined by newlines, without one at the end.

    >>> digest(["b", "a"]) == sha256(b"a\\nb").hexdigest()
    True
    """
    return sha256("\n".join(sorted(ids)).encode()).hexdigest()


def facts_of(corpus: str) -> dict[str, Fact]:
    """Return the facts of ``librispeech``, ``librilight`` or ``commonvoice``."""
    stored = json.loads((splits() / "facts.json").read_text(encoding="utf-8"))[corpus]
    return {
        name: Fact(**fact, frames_within=stored["frames_within"], confirmed=name not in stored["unconfirmed"])
        for name, fact in stored["splits"].items()
    }


def published_letters() -> dict[str, int]:
    """Return fairseq's published ``dict.ltr.txt``, that of every released English checkpoint: symbols and counts."""
    lines = (splits() / "dict.ltr.txt").read_text(encoding="ascii").splitlines()
    return {symbol: int(count) for symbol, count in map(str.split, lines)}


def librilight_ids() -> dict[str, tuple[str, ...]]:
    """Return the utterance ids of Libri-light's splits: the six folds of 10 min, 9 h, and their unions 1 h and 10 h."""
    names = [*(f"10min-{fold}" for fold in range(6)), "9h"]
    ids = {name: _ids_in(f"librilight-{name}.ids") for name in names}
    ids["1h"] = tuple(utterance for name in names[:6] for utterance in ids[name])
    ids["10h"] = ids["1h"] + ids["9h"]
    return ids


def _ids_in(name: str) -> tuple[str, ...]:
    return tuple((splits() / name).read_text(encoding="ascii").split())
