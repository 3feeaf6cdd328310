"""Writes official splits, compared with the published facts, completely or not at all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fairseq_parp.errors import IncompleteSplitError, ManifestError
from fairseq_parp.manifests.building import Source, Written, build, dictionary_for, lacking, write_folder
from fairseq_parp.manifests.corpora.facts import Fact, Facts, digest
from fairseq_parp.manifests.writing import Utterance


class Part(NamedTuple):
    """A published split as found on disk.

    Attributes:
        name: the published name, by which the facts are found.
        split: the manifest that it goes into; several parts may share one.
        sources: the existing utterances, in the order of the manifest; an id is the audio file's name without ending.
        missing: ids that are known to be missing.
        hint: further text about the missing utterances, for the message.
    """

    name: str
    split: str
    sources: Sequence[Source]
    missing: Sequence[str] = ()
    hint: str = ""


@dataclass(frozen=True)
class WrittenOfficial(Written):
    """The written folder, and its comparison with the published facts.

    Attributes:
        checked: published splits whose ids and frames are as they should be.
        unconfirmed: those whose ids were rebuilt from the published algorithm.
        unchecked: splits without facts.
        warnings: differences that were written nevertheless, one line each.
    """

    checked: Sequence[str]
    unconfirmed: Sequence[str]
    unchecked: Sequence[str]
    warnings: Sequence[str]


def require_complete(parts: Sequence[Part], facts: Facts) -> list[str]:
    """Check the ids of all parts before any audio is opened; return warnings about unconfirmed ones.

    Raises:
        IncompleteSplitError: utterances are missing, or are others than those of the published split.
    """
    problems: list[str] = []
    warnings: list[str] = []
    for part in parts:
        fact = facts.get(part.name)
        if fault := _id_fault(part, fact):
            confirmed = bool(part.missing) or fact is None or fact.confirmed
            (problems if confirmed else warnings).append(f"{part.name}: {fault}")
    if problems:
        raise IncompleteSplitError(problems)
    return [
        f"{warning}; this list was rebuilt and is unconfirmed, so the utterances that were found are taken"
        for warning in warnings
    ]


def write_official(
    out: Path,
    root: str,
    kind: str,
    parts: Sequence[Part],
    facts: Facts,
    symbols: Mapping[str, int] | None = None,
) -> WrittenOfficial:
    """Open the audio of all parts, check them and write manifests, labels and dictionary.

    Args:
        out: the data folder.
        root: absolute path of the folder that the sources' paths are relative to.
        kind: label kind, ``ltr`` or ``phn``.
        parts: the published splits.
        facts: required facts of the parts.
        symbols: a fixed dictionary, with which manifests that are in ``out`` already may stay beside the new ones;
            None makes one of the labels of all parts.

    Raises:
        ManifestError: a part differs from the facts, or has audio or text that cannot be used; nothing was written.
    """
    warnings = require_complete(parts, facts)
    splits: dict[str, list[Utterance]] = {}
    problems: list[str] = []
    for part in parts:
        built = build(part.sources, root, kind, part.name)
        problems += built.problems
        warnings += [f"{fault}; kept all the same, as the published split has it" for fault in built.unaligned]
        if not built.problems and (fault := _frames_fault(part, built.utterances, facts.get(part.name))):
            problems.append(f"{part.name}: {fault}")
        splits.setdefault(part.split, []).extend(built.utterances)
    every = list(chain.from_iterable(splits.values()))
    if symbols is not None:
        problems += lacking(every, symbols)
    if problems:
        raise ManifestError(problems)
    written = WrittenOfficial(
        splits,
        dictionary_for(every, symbols),
        checked=[part.name for part in parts if part.name in facts and facts[part.name].confirmed],
        unconfirmed=[part.name for part in parts if part.name in facts and not facts[part.name].confirmed],
        unchecked=[part.name for part in parts if part.name not in facts],
        warnings=warnings,
    )
    write_folder(out, root, kind, written, beside_own=symbols is not None)
    return written


def ids_of(sources: Sequence[Source]) -> list[str]:
    """Return the utterance ids: the names of the audio files without their endings."""
    return [PurePosixPath(source.path).stem for source in sources]


def _id_fault(part: Part, fact: Fact | None) -> str | None:
    there = ids_of(part.sources)
    total = fact.utterances if fact else len(there) + len(part.missing)
    if missing := max(len(part.missing), total - len(there)):
        first = f", first {part.missing[0]}" if part.missing else ""
        return f"{missing} of {total} utterances are missing{first}{part.hint}"
    if fact and len(there) > total:
        return f"{len(there)} utterances, the published split has {total}"
    if fact and not _same(part, fact):
        return f"its {total} utterances are not those of the published split (the digest of their ids differs)"
    return None


def _same(part: Part, fact: Fact) -> bool:
    return digest(ids_of(part.sources)) == fact.ids_sha256


def _frames_fault(part: Part, utterances: Collection[Utterance], fact: Fact | None) -> str | None:
    frames = sum(utterance.frames for utterance in utterances)
    if fact is None or not _same(part, fact) or abs(frames - fact.frames) <= fact.frames_within * fact.frames:
        return None
    allowed = f"within {fact.frames_within:.2%}" if fact.frames_within else "exactly"
    return f"{frames} frames of audio, the published split has {fact.frames} ({allowed})"
