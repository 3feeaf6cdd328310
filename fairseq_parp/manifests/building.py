"""The common part of all builders of manifests: audio and text become utterances, and these become a data folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fairseq_parp.errors import AudioError, ManifestError, absolute, listing
from fairseq_parp.manifests.audio import read_headers
from fairseq_parp.manifests.checking import kinds_in, splits_in
from fairseq_parp.manifests.ctc import ctc_fault
from fairseq_parp.manifests.labelling import LABELLERS, dictionary, words
from fairseq_parp.manifests.reading import locate
from fairseq_parp.manifests.writing import Utterance, dictionary_file, split_files, write_together


class Source(NamedTuple):
    """The source of an utterance: path relative to the root, text or phones, and ``FILE:LINE`` of the text.

    ``image`` is the id of its picture; "" in a corpus without pictures.
    """

    path: str
    text: str
    place: str
    image: str = ""


class Built(NamedTuple):
    """Utterances, problems of unusable sources, and utterances that CTC cannot align (one line each)."""

    utterances: list[Utterance]
    problems: list[str]
    unaligned: list[str]


@dataclass(frozen=True)
class Written:
    """The written folder: the utterances of each split, and the dictionary with its counts."""

    splits: Mapping[str, Sequence[Utterance]]
    symbols: Mapping[str, int]


def build(
    sources: Sequence[Source], root: str, kind: str, title: str = "audio", label: Callable[[str], str] | None = None
) -> Built:
    """Make utterances with labels of ``kind``, and open every audio file for its length.

    ``label`` makes labels of a text; by default the function of the kind.

    ``utterances`` also has those that CTC cannot align: the caller decides about them.
    """
    headers = read_headers([locate(root, source.path) for source in sources], title)
    built = Built([], [], [])
    for source, header in zip(sources, headers, strict=True):
        try:
            labels = (label or LABELLERS[kind])(source.text)
        except ValueError as error:
            built.problems.append(f"{source.place}: {error}")
            labels = ""
        if isinstance(header, AudioError):
            built.problems.append(f"{source.place}: {header}")
        elif header.fault:
            built.problems.append(f"{source.place}: {source.path}: {header.fault}")
        else:
            if fault := ctc_fault(header.frames, labels.split()):
                built.unaligned.append(f"{source.place}: {source.path}: {fault}")
            text = words(source.text) if kind == "ltr" else ""
            built.utterances.append(Utterance(source.path, header.frames, labels, text, source.image))
    return built


def dictionary_for(utterances: Sequence[Utterance], kept: Mapping[str, int] | None) -> dict[str, int]:
    """Return the dictionary to write: the one to keep, as it is, or else one made of the utterances.

    Raises:
        ManifestError: the one to keep lacks symbols; each is named.
    """
    if kept is None:
        return dictionary(utterance.labels for utterance in utterances)
    if problems := lacking(utterances, kept):
        raise ManifestError(problems)
    return dict(kept)


def lacking(utterances: Iterable[Utterance], symbols: Mapping[str, int]) -> list[str]:
    """Return a line for every symbol of the utterances that a dictionary lacks."""
    first: dict[str, str] = {}
    for utterance in utterances:
        for symbol in set(utterance.labels.split()) - symbols.keys():
            first.setdefault(symbol, utterance.path)
    return [f"{path}: has {symbol!r}, which the dictionary lacks" for symbol, path in sorted(first.items())]


def write_folder(out: Path, root: str, kind: str, written: Written, *, beside_own: bool = False) -> None:
    """Write the files of all splits and the dictionary, together.

    Args:
        out: the data folder. Manifests of the same names are replaced.
        beside_own: other manifests may stay there if the folder's dictionary is the one to be written.

    Raises:
        ManifestError: the folder holds other manifests or dictionaries, or cannot be written to.
    """
    files = dictionary_file(kind, written.symbols)
    beside = beside_own and all(_holds(out / name, text) for name, text in files.items())
    for split, utterances in written.splits.items():
        files |= split_files(root, split, kind, utterances)
    refuse_leftovers(out, files, beside)
    write_together(out, files)


def _holds(file: Path, text: str) -> bool:
    return file.is_file() and file.read_bytes() == text.encode()


def refuse_leftovers(out: Path, files: Mapping[str, str], beside: bool = False) -> None:
    """Refuse a folder whose other manifests would stay beside the new files and may no longer fit them.

    Args:
        out: the folder.
        files: content of the new files, by name.
        beside: whether other splits may stay.

    Raises:
        ManifestError: such manifests exist.
    """
    there = {f"dict.{kind}.txt" for kind in kinds_in(out)}
    if not beside:
        there |= {f"{split}.tsv" for split in splits_in(out)}
    there |= {f"{split}.img" for split in splits_in(out) if (out / f"{split}.img").exists()}
    if left := sorted(there - files.keys()):
        reason = f"holds {listing(left)} of another manifest; choose another folder, or remove that manifest first"
        raise ManifestError([f"{absolute(out)}: {reason}"])
