"""Files without a problem are read by fairseq to the same content; files that stop fairseq have a problem."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_parp.manifests.reading import SPECIALS, locate, read_labels, read_manifest, read_vocabulary

pytest.importorskip("fairseq")

EXAMPLES = settings(max_examples=200, deadline=None)
ODD = st.text("aB|1./:é\x85\u2028\ufeff \t\r", max_size=4)
NAME = st.text("aB|é.", min_size=1, max_size=4) | ODD
NUMBER = st.sampled_from(["1", "160", "7", "16000", "0", "1_6", "x"])


@st.composite
def files_of(draw: st.DrawFn, line: st.SearchStrategy[str]) -> str:
    """Draws lines of one form, most often ended properly, and at times an odd line among them."""
    lines = draw(st.lists(line, min_size=1, max_size=3))
    if draw(st.integers(0, 3)) == 3:
        lines.insert(draw(st.integers(0, len(lines))), draw(ODD))
    return "\n".join(lines) + draw(st.sampled_from(["\n", "\n", "", "\n\n"]))


entries = files_of(st.builds("{}\t{}".format, NAME, NUMBER))
manifests = st.builds("{}\n{}".format, st.just("/root") | ODD, entries)
flags = st.sampled_from(["", "", " #fairseq:overwrite"])
dictionaries = files_of(st.builds("{} {}{}".format, NAME | st.just("<s>"), NUMBER, flags))
label_files = files_of(st.lists(NAME, min_size=1, max_size=3).map(" ".join))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fairseq")


def fairseq_manifest(file: Path) -> tuple[str, list[tuple[str, int]]]:
    from fairseq.data import FileAudioDataset

    dataset = FileAudioDataset(str(file), sample_rate=16_000)
    names = [str(name) if isinstance(name, str) else bytes(name).decode() for name in dataset.fnames]
    return dataset.root_dir, list(zip(names, dataset.sizes.tolist(), strict=True))


@EXAMPLES
@given(body=manifests)
def test_manifest(scratch: Path, body: str) -> None:
    file = scratch / "train.tsv"
    file.write_bytes(body.encode())
    ours = read_manifest(file)
    try:
        theirs = fairseq_manifest(file)
    except (AssertionError, ValueError):
        assert ours.problems
    else:
        assert ours.problems or theirs == (ours.root, [(entry.path, entry.frames) for entry in ours.entries])


@EXAMPLES
@given(body=dictionaries)
def test_dictionary(scratch: Path, body: str) -> None:
    from fairseq.data import Dictionary

    file = scratch / "dict.ltr.txt"
    file.write_bytes(body.encode())
    ours = read_vocabulary(file)
    try:
        theirs = Dictionary.load(str(file))
    except (ValueError, RuntimeError):
        assert ours.problems
    else:
        assert ours.problems or tuple(theirs.symbols) == SPECIALS + ours.symbols


@EXAMPLES
@given(body=label_files)
def test_labels(scratch: Path, body: str) -> None:
    from fairseq.tokenizer import tokenize_line

    file = scratch / "train.ltr"
    file.write_bytes(body.encode())
    ours = read_labels(file)
    if not ours.problems:
        with file.open() as opened:
            assert [tokenize_line(line) for line in opened] == [line.split() for line in ours.lines]


@pytest.mark.parametrize("path", ["a.wav", "a:b.flac", "z.zip:3:40", "z.zip:3", "z.zip:a:b", "x:y.mp3", "x.mp3"])
def test_locate(tmp_path: Path, path: str) -> None:
    from fairseq.data.audio.audio_utils import parse_path

    for name in ("z.zip", "x.mp3"):
        (tmp_path / name).touch()
    try:
        theirs = parse_path(f"{tmp_path}/{path}")
    except (AssertionError, ValueError, FileNotFoundError):
        with pytest.raises(ValueError, match=r"unpack|invalid literal"):
            locate(str(tmp_path), path)
    else:
        ours = locate(str(tmp_path), path)
        assert theirs == (ours.file, [] if ours.offset is None else [ours.offset, ours.length])


def test_the_whole_folder_is_what_fairseq_trains_on(folder: Path) -> None:
    from fairseq.data import Dictionary, FileAudioDataset

    ours = read_manifest(folder / "train.tsv")
    dataset = FileAudioDataset(str(folder / "train.tsv"), sample_rate=16_000, pad=True)
    assert [len(dataset[i]["source"]) for i in range(len(dataset))] == [entry.frames for entry in ours.entries]
    dictionary = Dictionary.load(str(folder / "dict.ltr.txt"))
    for line in read_labels(folder / "train.ltr").lines:
        ids = dictionary.encode_line(line, add_if_not_exist=False, append_eos=False)
        assert dictionary.string(ids) == line
