"""``fairseq-parp manifest librilight``: the labelled 10 minutes, 1, 9 and 10 hours of Libri-light.

They are read from the official ``librispeech_finetuning`` tree. They are also part of LibriSpeech's train subsets, and
can be selected from these by utterance id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

from fairseq_parp.errors import ConfigError, ManifestError, absolute, listing
from fairseq_parp.manifests.building import Source
from fairseq_parp.manifests.corpora.chapters import chapter_folders, read_chapters
from fairseq_parp.manifests.corpora.facts import Facts, facts_of, librilight_ids, published_letters
from fairseq_parp.manifests.corpora.librispeech import TRAIN, find_librispeech, split_name
from fairseq_parp.manifests.corpora.official import Part, WrittenOfficial, write_official

FOLDS = tuple(f"10min-{fold}" for fold in range(6))
FOLDERS = {
    **{name: (f"1h/{fold}",) for fold, name in enumerate(FOLDS)},
    "1h": tuple(f"1h/{fold}" for fold in range(6)),
    "9h": ("9h",),
    "10h": (*(f"1h/{fold}" for fold in range(6)), "9h"),
}
"""The folders of ``librispeech_finetuning`` that make up each split; ``clean`` and ``other`` are below."""


def write_librilight(
    root: str | PathLike[str],
    out: str | PathLike[str],
    *,
    subset: str | None = None,
    ids: Mapping[str, Sequence[str]] | None = None,
    facts: Facts | None = None,
    symbols: Mapping[str, int] | None = None,
) -> WrittenOfficial:
    """Write manifests, letters and the published dictionary.

    Args:
        root: ``librispeech_finetuning`` or ``LibriSpeech``, or the folder that holds one of them.
        out: the data folder; other manifests with the same dictionary may be there already.
        subset: the one to write, as the split ``train``; None writes all, as ``train_10min_0`` to ``train_10h``.
        ids: the utterances of each subset; None means the published ones.
        facts: required facts of the subsets; None means the published ones.
        symbols: the dictionary to keep, with counts; None means the published one.

    Raises:
        ConfigError: there is no such subset.
        ManifestError: a subset is not complete, or has a file that cannot be used; nothing was written.
    """
    if subset is not None and subset not in FOLDERS:
        raise ConfigError("--subset", subset, f"one of {listing(FOLDERS, 9)}")
    names = list(FOLDERS) if subset is None else [subset]
    wanted = librilight_ids() if ids is None else ids
    tree = _find_tree(Path(absolute(root)))
    base = tree or find_librispeech(root, TRAIN)
    if base is None:
        looked = "looked in it, in librispeech_finetuning for 1h, 9h, and in LibriSpeech for"
        raise ManifestError([f"{absolute(root)}: no Libri-light; {looked} {listing(TRAIN)}"])
    parts, problems = [], []
    absent = _absent(base)
    for name in names:
        folders = _tree_folders(base, name) if tree else _train_folders(base, wanted[name])
        chapters = read_chapters(folders, base)
        # Folds of the official tree are taken as found; elsewhere the ids determine them.
        sources = chapters.sources if tree else {id_: s for id_, s in chapters.sources.items() if id_ in wanted[name]}
        problems += [problem for problem in chapters.problems if problem not in problems]
        split = "train" if subset else split_name(f"train-{name}")
        missing = _missing(name, wanted, sources, bool(tree))
        parts.append(Part(name, split, list(sources.values()), missing, "" if tree else absent))
    if problems:
        raise ManifestError(problems)
    known = facts_of("librilight") if facts is None else facts
    return write_official(Path(out), str(base), "ltr", parts, known, symbols or published_letters())


def _absent(base: Path) -> str:
    """Name those of LibriSpeech's train subsets that have no folder; the utterances are picked from all of them."""
    absent = [subset for subset in TRAIN if not (base / subset).is_dir()]
    return f"; {base} has no folder {listing(absent)}" if absent else ""


def _missing(name: str, wanted: Mapping[str, Sequence[str]], there: Mapping[str, Source], tree: bool) -> list[str]:
    # Which ids are in which of the folds 1 to 5 is known from the official tree alone.
    if tree and name in FOLDS[1:]:
        return []
    return [utterance for utterance in wanted[name] if utterance not in there]


def _find_tree(root: Path) -> Path | None:
    for base in (root, root / "librispeech_finetuning"):
        if any((base / name).is_dir() for name in ("1h", "9h")):
            return base
    return None


def _tree_folders(base: Path, name: str) -> list[Path]:
    halves = [base / folder / half for folder in FOLDERS[name] for half in ("clean", "other")]
    return [chapter for half in halves if half.is_dir() for chapter in chapter_folders(half)]


def _train_folders(base: Path, ids: Sequence[str]) -> list[Path]:
    """Return the folders of the chapters that the ids are of."""
    chapters = dict.fromkeys(tuple(utterance.split("-")[:2]) for utterance in ids)
    places = ([base / subset / speaker / chapter for subset in TRAIN] for speaker, chapter in chapters)
    return [folder for place in places for folder in place if folder.is_dir()]
