"""``fairseq-parp manifest captions``: captions of pictures and clips, from the lists of published corpora.

A JSON list is ``{"data": [...]}``. An entry has an ``image`` and ``captions`` (SpokenCOCO), one ``caption`` (its
unrolled lists), or the caption's own keys (Places): ``wav``, and ``text`` or ``asr_text``. A text list names the
pictures of one of Flickr8k's splits; ``wav2capt.txt`` in the root has the captions of each. MSR-VTT's lists, whose
captions are written, and tables of clips are those of :mod:`~fairseq_parp.manifests.clips`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_parp.errors import AudioError, ConfigError, ManifestError, absolute, first_line
from fairseq_parp.kinds import unreadable
from fairseq_parp.manifests import clips
from fairseq_parp.manifests.audio import read_headers
from fairseq_parp.manifests.building import refuse_leftovers
from fairseq_parp.manifests.cutting import cut
from fairseq_parp.manifests.reading import locate, path_fault, read_lines
from fairseq_parp.manifests.transcripts import SPLIT_NAME, TranscriptRow, relative
from fairseq_parp.manifests.writing import Utterance, split_files, write_together

WAV2CAPT, WAVS = "wav2capt.txt", "wavs"
"""Flickr8k audio: lines of audio file, picture and number of the caption; and the folder of the audio."""


class WrittenCaptions(NamedTuple):
    """The written folder.

    Attributes:
        splits: utterances by split.
        untexted: number of captions without a text; if there is one, no ``.wrd`` is written.
        conversion: a line for each kind of converted audio.
    """

    splits: Mapping[str, Sequence[Utterance]]
    untexted: int
    conversion: Sequence[str]


def write_captions(
    lists: Mapping[str, Path],
    out: str | PathLike[str],
    *,
    root: str | PathLike[str] | None = None,
    text: str | PathLike[str] | None = None,
    audio: str | PathLike[str] | None = None,
    processes: int | None = None,
) -> WrittenCaptions:
    """Write ``SPLIT.tsv``, ``SPLIT.img`` and, where every caption has a text, ``SPLIT.wrd``; of written ones no tsv.

    Args:
        lists: list by split.
        out: folder for the files.
        root: folder that the audio's paths start from; by default that of the first list.
        text: Flickr8k's ``Flickr8k.token.txt``, or MSR-VTT's JSON file, for lists without words.
        audio: folder for 16 kHz mono FLACs of all captions; None takes the audio as it is.
        processes: how many convert at a time; None means one per core.

    Raises:
        ManifestError: lists or audio cannot be used, all problems together; no manifest was written.
        ConfigError: a split has a name that files cannot have, ``text`` is given for JSON lists alone, or ``audio`` for
            written captions.
    """
    if wrong := [split for split in lists if not SPLIT_NAME.fullmatch(split)]:
        raise ConfigError("SPLIT=LIST", wrong[0], "must be a file name of letters, digits, '_', '-' and '.'")
    if text is not None and all(file.suffix.lower() == ".json" for file in lists.values()):
        raise ConfigError("--text", text, "is for Flickr8k and tables; JSON lists have their texts")
    base = os.path.normpath(absolute(root if root is not None else next(iter(lists.values())).parent))
    problems: list[str] = []
    rows: list[TranscriptRow] = []
    for split, file in lists.items():
        rows += _rows(file, split, base, Path(text) if text is not None else None, problems)
    if rows and not any(row.path for row in rows) and not problems:
        return _write_texts(rows, Path(out), audio)
    problems += [f"{row.place}: is written, captions of other splits are spoken" for row in rows if not row.path][:1]
    problems += _faults(rows, base)
    if problems:
        raise ManifestError(problems)
    folder, conversion = base, list[str]()
    if audio is not None:
        folder = os.path.normpath(absolute(audio))
        rows, conversion = cut(rows, base, Path(folder), processes)
    written = WrittenCaptions(_utterances(rows, folder), sum(not row.text for row in rows), conversion)
    files: dict[str, str] = {}
    for split, utterances in written.splits.items():
        files |= split_files(folder, split, None, utterances)
    refuse_leftovers(Path(out), files)
    write_together(Path(out), files)
    return written


def _rows(file: Path, split: str, base: str, text: Path | None, problems: list[str]) -> Iterator[TranscriptRow]:
    """Yield the captions of a list."""
    kind = file.suffix.lower()
    if kind == ".json":
        yield from _json(file, split, base, problems)
    elif kind == ".csv":
        sentences = clips.read_sentences(text, problems) if text is not None else {}
        yield from clips.of_table(file, split, Path(base), sentences, problems)
    else:
        words = _flickr_words(text, problems) if text is not None else {}
        yield from _flickr(file, split, Path(base), words, problems)


def _write_texts(rows: Sequence[TranscriptRow], out: Path, audio: str | PathLike[str] | None) -> WrittenCaptions:
    """Write ``SPLIT.wrd`` and ``SPLIT.img`` of written captions."""
    if audio is not None:
        raise ConfigError("--audio", audio, "is for spoken captions; these are written")
    splits: dict[str, list[Utterance]] = {}
    for row in rows:
        splits.setdefault(row.split, []).append(Utterance("", 0, "", row.text, row.image))
    files: dict[str, str] = {}
    for split, utterances in splits.items():
        files |= split_files(None, split, None, utterances)
    refuse_leftovers(out, files)
    write_together(out, files)
    return WrittenCaptions(splits, 0, [])


def _json(file: Path, split: str, base: str, problems: list[str]) -> Iterator[TranscriptRow]:
    """Yield the captions of a JSON list."""
    try:
        given = json.loads(file.read_text(encoding="utf-8-sig"))
        written = isinstance(given, Mapping) and all(
            isinstance(given.get(key), list) for key in ("videos", "sentences")
        )
        entries: Any = given["data"] if isinstance(given, Mapping) and not written else None
        if not written and (not isinstance(entries, list) or not entries):
            raise ValueError('a list has the form {"data": [{"image": ..., "captions": [...]}, ...]}')
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{absolute(file)}: {unreadable(file, error)}")
        return
    except (ValueError, KeyError, RecursionError) as error:
        problems.append(f"{absolute(file)}: no list of captions ({first_line(error)})")
        return
    if written:
        yield from clips.of_json(given, file, split, problems)
        return
    for number, entry in enumerate(entries):
        image = entry.get("image") if isinstance(entry, Mapping) else None
        if not isinstance(image, str) or not image.strip() or "\n" in image:
            problems.append(f"{file}: data[{number}] has no image")
            continue
        captions = entry.get("captions", [entry.get("caption", entry)])
        if not isinstance(captions, list) or not captions:
            problems.append(f"{file}: data[{number}] ({image}) has no captions")
            continue
        for place, caption in enumerate(captions):
            at = f"{file}: data[{number}]" + f".captions[{place}]" * ("captions" in entry)
            yield from _caption(caption, at, split, base, image.strip(), problems)


def _caption(caption: Any, at: str, split: str, base: str, image: str, problems: list[str]) -> Iterator[TranscriptRow]:
    wav = caption.get("wav") if isinstance(caption, Mapping) else None
    if not isinstance(wav, str) or not wav.strip():
        problems.append(f"{at} has no wav")
        return
    text = caption.get("text", caption.get("asr_text"))
    words = " ".join(text.split()) if isinstance(text, str) else ""
    path = relative(os.path.join(base, wav.strip()), base)  # noqa: PTH118 (an absolute path stays one)
    yield TranscriptRow(path, words, split, str(caption.get("speaker", "")), at, image=image)


def _flickr(
    file: Path, split: str, base: Path, words: Mapping[str, str], problems: list[str]
) -> Iterator[TranscriptRow]:
    """Yield the captions of the pictures that a list names; the text of each is its ``IMAGE#NUMBER``."""
    names, faults = read_lines(file)
    captions, found = read_lines(base / WAV2CAPT)
    more = [f"{fault} (a list that is neither .json nor .csv, as {file}, has Flickr8k's form)" for fault in found]
    problems += [problem for problem in (*faults, *more) if problem not in problems]
    wanted = {name.strip() for name in names if name.strip()}
    seen: set[str] = set()
    for number, line in enumerate(captions, start=1):
        fields = line.split()
        at = f"{base / WAV2CAPT}:{number}"
        if len(fields) != 3 or not fields[2].startswith("#"):
            fault = f"{at}: {line!r} is not AUDIO IMAGE #NUMBER"
            problems += [fault] * (fault not in problems)
        elif fields[1] in wanted:
            seen.add(fields[1])
            text = words.get("".join(fields[1:]), "")
            yield TranscriptRow(f"{WAVS}/{fields[0]}", text, split, "", at, image=fields[1])
    if captions and names:
        problems += [f"{file}: {name} has no caption in {WAV2CAPT}" for name in sorted(wanted - seen)]


def _flickr_words(file: Path, problems: list[str]) -> dict[str, str]:
    """Return the words of each ``IMAGE#NUMBER``."""
    lines, faults = read_lines(file)
    problems += faults
    pairs = (line.partition("\t") for line in lines)
    return {name: " ".join(words.split()) for name, _, words in pairs}


def _faults(rows: Sequence[TranscriptRow], base: str) -> Iterator[str]:
    """Yield paths that lead out of the root, and audio that occurs twice, in one split or in two."""
    first: dict[str, TranscriptRow] = {}
    for row in rows:
        if fault := path_fault(base, row.path):
            yield f"{row.place}: {fault}"
        if (other := first.setdefault(row.path, row)) is not row:
            yield f"{row.place}: {row.path} of {row.split} is also in {other.split} ({other.place})"


def _utterances(rows: Sequence[TranscriptRow], folder: str) -> dict[str, list[Utterance]]:
    """Return the utterances by split.

    Raises:
        ManifestError: audio is missing, damaged or of another rate.
    """
    headers = read_headers([locate(folder, row.path) for row in rows], "captions")
    texted, problems = all(row.text for row in rows), []
    splits: dict[str, list[Utterance]] = {}
    for row, header in zip(rows, headers, strict=True):
        if isinstance(header, AudioError) or header.fault:
            reason = str(header) if isinstance(header, AudioError) else f"{row.path}: {header.fault}"
            problems.append(f"{row.place}: {reason}")
            continue
        utterance = Utterance(row.path, header.frames, "", row.text if texted else "", row.image)
        splits.setdefault(row.split, []).append(utterance)
    if problems:
        raise ManifestError(problems)
    return splits
