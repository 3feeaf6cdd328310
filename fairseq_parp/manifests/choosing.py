"""Chooses the utterances of train that become valid and test, and the part of train that is kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fairseq_parp.errors import ConfigError, listing
from fairseq_parp.manifests.audio import RATE
from fairseq_parp.manifests.subset import shuffled, within
from fairseq_parp.manifests.transcripts import TranscriptRow
from fairseq_parp.manifests.writing import Utterance

Speakers = int | Sequence[str]
"""How many speakers, chosen at random, or which."""


class Wanted(NamedTuple):
    """The requested choices from train.

    Attributes:
        valid_speakers: all utterances of these become the split valid.
        test_speakers: all utterances of these become the split test.
        valid_minutes: random utterances of at most this duration become valid.
        test_minutes: random utterances of at most this duration become test.
        minutes: random utterances of at most this duration are kept as train.
        seed: seed of the random choices.
    """

    valid_speakers: Speakers = 0
    test_speakers: Speakers = 0
    valid_minutes: float | None = None
    test_minutes: float | None = None
    minutes: float | None = None
    seed: int = 1


class Chosen(NamedTuple):
    """The splits, and the speakers that were moved to a split."""

    splits: dict[str, list[Utterance]]
    moved: dict[str, list[str]]


def choose(rows: Sequence[TranscriptRow], utterances: Sequence[Utterance], wanted: Wanted) -> Chosen:
    """Sort utterances into splits; ``rows`` are theirs, in the same order.

    Raises:
        ConfigError: train is missing, a split exists already, or train has less than requested.
    """
    moved: dict[str, list[str]] = {}
    of = {row.speaker: "train" for row in rows if row.split == "train"}
    for split, option, speakers in (
        ("test", "--test-speakers", wanted.test_speakers),
        ("valid", "--valid-speakers", wanted.valid_speakers),
    ):
        if speakers:
            _require(rows, split, option, speakers)
            left = [name for name, now in of.items() if now == "train"]
            moved[split] = _speakers(left, option, speakers, wanted.seed)
            of |= dict.fromkeys(moved[split], split)
    splits: dict[str, list[Utterance]] = defaultdict(list)
    for row, utterance in zip(rows, utterances, strict=True):
        splits[of[row.speaker] if row.split == "train" else row.split].append(utterance)
    for split, minutes, speakers in (
        ("test", wanted.test_minutes, wanted.test_speakers),
        ("valid", wanted.valid_minutes, wanted.valid_speakers),
    ):
        if minutes is not None:
            option = f"--{split}-minutes"
            _require(rows, split, option, minutes)
            if speakers:
                raise ConfigError(option, minutes, f"is instead of --{split}-speakers; give one of them")
            splits[split], splits["train"] = _parted(splits["train"], option, minutes, wanted.seed)
            if not splits["train"]:
                raise ConfigError(option, minutes, "leaves nothing to train on")
    if wanted.minutes is not None:
        _require(rows, "", "--minutes", wanted.minutes)
        splits["train"], _ = _parted(splits["train"], "--minutes", wanted.minutes, wanted.seed)
    return Chosen(dict(splits), moved)


def _speakers(speakers: Sequence[str], option: str, asked: Speakers, seed: int) -> list[str]:
    if "" in speakers:
        without = option.replace("speakers", "minutes")
        needed = f"needs a speaker for every utterance of train (column 'speaker', utt2spk); {without} M needs none"
        raise ConfigError(option, asked, needed)
    if isinstance(asked, int):
        if not 0 < asked < len(speakers):
            several = f"from 1 to {len(speakers) - 1}; train has {len(speakers)} speakers: {listing(sorted(speakers))}"
            several += f"; the speaker {asked} is written '{asked},'" if str(asked) in speakers else ""
            raise ConfigError(option, asked, several if len(speakers) > 1 else "train has only one speaker")
        return sorted(shuffled(speakers, seed)[:asked])
    if unknown := [name for name in asked if name not in speakers]:
        raise ConfigError(
            option, ",".join(asked), f"{unknown[0]!r} is not a speaker of train; {listing(sorted(speakers))} are"
        )
    if len(set(asked)) == len(speakers):
        raise ConfigError(option, ",".join(asked), "leaves no speaker to train on")
    return sorted(set(asked))


def _require(rows: Sequence[TranscriptRow], split: str, option: str, value: object) -> None:
    """Check that train is there to choose from, and that ``split`` is not there."""
    splits = dict.fromkeys(row.split for row in rows)
    if split in splits:
        raise ConfigError(option, value, f"the table has a {split} split already")
    if "train" not in splits:
        raise ConfigError(option, value, f"takes from the split train, which the table lacks; it has {listing(splits)}")


def _parted(
    train: Sequence[Utterance], option: str, minutes: float, seed: int
) -> tuple[list[Utterance], list[Utterance]]:
    """Return random utterances of at most the given minutes, and the others, both in the order of the table."""
    frames: Mapping[str, int] = {utterance.path: utterance.frames for utterance in train}
    there = sum(frames.values()) / RATE / 60
    if not 0 < minutes <= there:
        raise ConfigError(option, minutes, f"above 0, up to the {there:.1f} minutes of train")
    chosen = within(frames, round(minutes * 60 * RATE), seed)
    if not chosen:
        raise ConfigError(option, minutes, "too little for a single utterance of train")
    taken = [utterance for utterance in train if utterance.path in chosen]
    return taken, [utterance for utterance in train if utterance.path not in chosen]
