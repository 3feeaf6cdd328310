"""``fairseq-parp manifest librispeech``: the subsets of LibriSpeech, unpacked as distributed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

from fairseq_parp.errors import ConfigError, ManifestError, absolute, listing
from fairseq_parp.manifests.corpora.chapters import chapter_folders, read_chapters
from fairseq_parp.manifests.corpora.facts import Facts, facts_of, published_letters
from fairseq_parp.manifests.corpora.official import Part, WrittenOfficial, write_official

TRAIN = ("train-clean-100", "train-clean-360", "train-other-500")
SUBSETS = ("dev-clean", "dev-other", "test-clean", "test-other", *TRAIN)


def write_librispeech(
    root: str | PathLike[str],
    out: str | PathLike[str],
    *,
    subsets: Sequence[str] | None = None,
    facts: Facts | None = None,
    symbols: Mapping[str, int] | None = None,
) -> WrittenOfficial:
    """Write manifests, letters and the published dictionary for subsets of LibriSpeech.

    ``dev-other`` becomes the split ``dev_other``, and likewise for the others.

    Args:
        root: ``LibriSpeech``, or the folder that holds it.
        out: the data folder; other manifests with the same dictionary may be there already.
        subsets: those to write; None means all that are there.
        facts: required facts of the subsets; None means the published ones.
        symbols: the dictionary to keep, with counts; None means the published one.

    Raises:
        ManifestError: a subset is not there, not complete, or has a file that cannot be used; nothing was written.
    """
    known = facts_of("librispeech") if facts is None else facts
    base = find_librispeech(root, SUBSETS)
    if base is None:
        where = f"{absolute(root)} and {absolute(root)}/LibriSpeech"
        raise ManifestError([f"{absolute(root)}: no LibriSpeech; looked in {where} for {listing(SUBSETS, 9)}"])
    names = [name for name in SUBSETS if (base / name).is_dir()] if subsets is None else list(subsets)
    _require(names, base)
    parts, problems = [], []
    for name in names:
        chapters = read_chapters(list(chapter_folders(base / name)), base)
        problems += chapters.problems
        short = name in known and len(chapters.sources) < known[name].utterances
        hint = _hint(base, name) if short else ""
        parts.append(Part(name, split_name(name), list(chapters.sources.values()), chapters.silent, hint))
    if problems:
        raise ManifestError(problems)
    return write_official(Path(out), str(base), "ltr", parts, known, symbols or published_letters())


def find_librispeech(root: str | PathLike[str], subsets: Sequence[str]) -> Path | None:
    """Return the folder that holds any of the subsets: ``root`` or ``root/LibriSpeech``, as an absolute path."""
    bases = (Path(absolute(root)), Path(absolute(root), "LibriSpeech"))
    return next((base for base in bases if any((base / name).is_dir() for name in subsets)), None)


def split_name(subset: str) -> str:
    """Return the name of a subset's manifest.

    >>> split_name("dev-other")
    'dev_other'
    """
    return subset.replace("-", "_")


def _require(names: Sequence[str], base: Path) -> None:
    if unknown := [name for name in names if name not in SUBSETS]:
        raise ConfigError("--subsets", unknown[0], f"one of {listing(SUBSETS, 9)}")
    if absent := [name for name in names if not (base / name).is_dir()]:
        raise ManifestError([f"{base}: no folder {name}" for name in absent])


def _hint(base: Path, subset: str) -> str:
    """Name the first chapter without a folder, by the list of chapters that comes with every subset."""
    listed = base / "CHAPTERS.TXT"
    if not listed.is_file():
        return ""
    for line in listed.read_text(encoding="utf-8", errors="replace").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 3 and cells[3] == subset and not (base / subset / cells[1] / cells[0]).is_dir():
            return f"; CHAPTERS.TXT names {subset}/{cells[1]}/{cells[0]}, which does not exist"
    return ""
