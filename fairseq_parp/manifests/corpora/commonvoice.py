"""``fairseq-parp manifest commonvoice``: one hour of each of ten languages, with phones (Riviere et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from fairseq_parp.errors import ConfigError, ManifestError, absolute
from fairseq_parp.manifests.building import Source
from fairseq_parp.manifests.checking import missing_files
from fairseq_parp.manifests.corpora.conversion import Clip, convert, require_mp3
from fairseq_parp.manifests.corpora.facts import Facts, facts_of
from fairseq_parp.manifests.corpora.official import Part, WrittenOfficial, ids_of, require_complete, write_official
from fairseq_parp.manifests.corpora.phones import LABELS, LISTS, read_list, read_phones

LANGUAGES: dict[str, tuple[str, ...]] = {
    **{code: (code,) for code in ("es", "fr", "it", "ky", "nl", "ru")},
    "sv": ("sv", "sv-SE", "sv_SE"),
    **{code: (code,) for code in ("tr", "tt")},
    "zh": ("zh", "zh-TW", "zh_TW"),
}
"""The ten languages by the splits' code, with the spellings of the paper and of Common Voice."""

SPLITS = {"train": "train", "val": "valid", "test": "test"}
"""The manifest that each published split becomes."""


class _Language(NamedTuple):
    parts: list[Part]
    clips: list[Clip]
    problems: list[str]


def write_commonvoice(
    root: str | PathLike[str],
    lists: str | PathLike[str],
    out: str | PathLike[str],
    *,
    languages: Sequence[str] = tuple(LANGUAGES),
    audio: str | PathLike[str] | None = None,
    processes: int | None = None,
    facts: Facts | None = None,
    symbols: Mapping[str, int] | None = None,
) -> WrittenOfficial:
    """Convert the clips, and write the manifests train, valid and test, phones and a dictionary.

    Args:
        root: Common Voice: the folder of the language, or one that holds a folder per language.
        lists: ``common_voices_splits``, which holds a folder per language.
        out: the data folder.
        languages: one, or several whose splits are joined with one dictionary.
        audio: folder for the FLACs, which languages and their union may share; None means ``out/audio``.
        processes: number of converting processes; None means one per core.
        facts: required facts of the splits; None means the published ones.
        symbols: the dictionary to keep, with counts; None makes one.

    Raises:
        ConfigError: a language is not one of the ten.
        ManifestError: a split is not complete, or has a file that cannot be used. No manifest was written;
            clips that were converted are kept.
        MissingToolError: libsndfile reads no mp3.
    """
    codes = [language_code(language) for language in languages]
    base = Path(absolute(Path(out, "audio") if audio is None else audio))
    known = facts_of("commonvoice") if facts is None else facts
    read = [_read_language(code, Path(root), Path(lists), base, alone=len(codes) == 1) for code in codes]
    if problems := [problem for language in read for problem in language.problems]:
        raise ManifestError(problems)
    parts = [part for language in read for part in language.parts]
    require_complete(parts, known)
    require_mp3()
    convert([clip for language in read for clip in language.clips], processes)
    return write_official(Path(out), str(base), "phn", parts, known, symbols)


def language_code(language: str) -> str:
    """Return the splits' code of a language, whichever way it is spelled.

    Raises:
        ConfigError: it is not one of the ten.

    >>> language_code("sv-SE")
    'sv'
    """
    for code, spellings in LANGUAGES.items():
        if language in spellings:
            return code
    names = ", ".join(spellings[1] if spellings[1:] else code for code, spellings in LANGUAGES.items())
    raise ConfigError("--language", language, f"one of the ten: {names}")


def _read_language(code: str, root: Path, lists: Path, audio: Path, *, alone: bool) -> _Language:
    clips = _find(code, root, "clips", itself=alone)
    labels = _find(code, lists, LABELS, itself=False)
    if problems := [found for found in (clips, labels) if isinstance(found, str)]:
        return _Language([], [], problems)
    return _read_parts(code, Path(clips, "clips"), Path(labels), audio)


def _find(code: str, root: Path, inside: str, *, itself: bool) -> Path | str:
    """Return the folder of a language that contains ``inside``, or a problem."""
    folders = [root / spelling for spelling in LANGUAGES[code]] + [root] * itself
    for folder in folders:
        if (folder / inside).exists():
            return folder
    return f"{absolute(root)}: no {code}; looked for {' and '.join(absolute(folder / inside) for folder in folders)}"


def _read_parts(code: str, mp3s: Path, labels: Path, audio: Path) -> _Language:
    listed, problems = {}, []
    for name, file in LISTS.items():
        listed[name], faults = read_list(labels / file)
        problems += faults
    phones, faults = read_phones(labels, {clip for ids in listed.values() for clip in ids})
    problems += faults
    if not faults:
        unlabelled = [(name, clip) for name, ids in listed.items() for clip in ids if clip not in phones]
        problems += [f"{labels / LISTS[name]}: {clip} has no phones in {LABELS}" for name, clip in unlabelled]
    if problems:
        return _Language([], [], problems)
    clips = {clip: Clip(mp3s / f"{clip}.mp3", audio / code / f"{clip}.flac") for ids in listed.values() for clip in ids}
    there = clips.keys() - _absent(clips)
    parts = []
    for name, ids in listed.items():
        sources = [Source(f"{code}/{clip}.flac", *phones[clip]) for clip in ids if clip in there]
        parts.append(Part(f"{code}-{name}", SPLITS[name], sources, [clip for clip in ids if clip not in there]))
    return _Language(parts, [clips[clip] for part in parts for clip in ids_of(part.sources)], [])


def _absent(clips: dict[str, Clip]) -> set[str]:
    """Return the ids that have neither the clip nor its FLAC."""
    mp3s = missing_files(str(clip.source) for clip in clips.values())
    flacs = missing_files(str(clip.target) for clip in clips.values())
    return {name for name, clip in clips.items() if str(clip.source) in mp3s and str(clip.target) in flacs}
