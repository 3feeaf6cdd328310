"""Libri-light from its own tree and from LibriSpeech; with dev-other in one folder that base_10m trains on."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from fairseq_parp.cli import main
from fairseq_parp.errors import ConfigError, IncompleteSplitError, ManifestError
from fairseq_parp.manifests.checking import check_folder
from fairseq_parp.manifests.corpora.librilight import FOLDERS, FOLDS, write_librilight
from fairseq_parp.manifests.corpora.librispeech import write_librispeech

ROOT = Path(__file__).parents[3]


@pytest.fixture
def ids() -> dict[str, list[str]]:
    """Fold i has two utterances of speaker 10 + i; 9 h has another chapter of speaker 10."""
    small = {name: [f"1{fold}-1-000{number}" for number in (0, 1)] for fold, name in enumerate(FOLDS)}
    small["9h"] = ["10-2-0000"]
    small["1h"] = [utterance for name in FOLDS for utterance in small[name]]
    small["10h"] = small["1h"] + small["9h"]
    return small


@pytest.fixture
def facts(ids: Mapping[str, list[str]], fact_of):
    return {name: fact_of(of, frames_within=0.0001, confirmed=name not in FOLDS[1:]) for name, of in ids.items()}


@pytest.fixture
def tree(tmp_path: Path, chapter) -> Path:
    """The official tree: its transcripts have the whole chapter, its FLACs are those of the split."""
    base = tmp_path / "librispeech_finetuning"
    for fold in range(6):
        half = base / f"1h/{fold}" / ("other" if fold % 2 else "clean")
        chapter(half, 10 + fold, 1, 3)
        (half / f"1{fold}/1/1{fold}-1-0002.flac").unlink()
    chapter(base / "9h/clean", 10, 2, 1)
    return base


@pytest.fixture
def trains(tmp_path: Path, chapter) -> Path:
    """LibriSpeech's train subsets with the same utterances and more."""
    base = tmp_path / "LibriSpeech"
    for fold in range(6):
        chapter(base / ("train-other-500" if fold % 2 else "train-clean-100"), 10 + fold, 1, 4)
    chapter(base / "train-clean-100", 10, 2, 2)
    chapter(base / "train-clean-360", 99, 1, 1)
    return base


def names_in(tsv: Path) -> list[str]:
    return [Path(line.split("\t")[0]).stem for line in tsv.read_text().splitlines()[1:]]


@pytest.mark.parametrize("subset", FOLDERS)
def test_the_tree_and_librispeech_give_the_same_labels(tree, trains, tmp_path, ids, facts, subset: str) -> None:
    build = partial(write_librilight, subset=subset, ids=ids, facts=facts)
    written = build(tree, tmp_path / "tree")
    build(trains, tmp_path / "picked")
    assert names_in(tmp_path / "tree/train.tsv") == names_in(tmp_path / "picked/train.tsv") == ids[subset]
    for name in ("train.ltr", "train.wrd", "dict.ltr.txt"):
        assert (tmp_path / "tree" / name).read_text() == (tmp_path / "picked" / name).read_text()
    assert [report.problems for report in check_folder(tmp_path / "picked")] == [[]]
    assert (written.checked, written.unconfirmed) == (([], [subset]) if subset in FOLDS[1:] else ([subset], []))
    assert not written.warnings


def test_all_at_once_under_their_own_names(tree: Path, tmp_path: Path, ids, facts) -> None:
    write_librilight(tmp_path, tmp_path / "data", ids=ids, facts=facts)
    splits = {file.stem: names_in(file) for file in (tmp_path / "data").glob("*.tsv")}
    assert splits == {f"train_{name.replace('-', '_')}": list(of) for name, of in ids.items()}
    first = (tmp_path / "data/train_10h.tsv").read_text().splitlines()[:2]
    assert first == [str(tree), "1h/0/clean/10/1/10-1-0000.flac\t16000"]


@pytest.mark.parametrize("dev_first", [True, False])
def test_two_commands_give_the_folder_that_the_shipped_configs_read(
    tree, librispeech, tmp_path, ids, facts, dev_first: bool
) -> None:
    data = tmp_path / "data"
    build_dev = partial(write_librispeech, librispeech, data, subsets=["dev-other"], facts={})
    if dev_first:
        build_dev()
    write_librilight(tree, data, subset="10min-0", ids=ids, facts=facts)
    if not dev_first:
        build_dev()
    write_librilight(tree, data, subset="1h", ids=ids, facts=facts)  # another train in its place
    assert {report.split: report.problems for report in check_folder(data)} == {"dev_other": [], "train": []}
    for name in ("base_10m", "base_1h", "base_10h"):
        config = (ROOT / f"configs/{name}.yaml").read_text()
        assert re.findall(r"(?:train|valid)_subset: (\w+)", config) == ["train", "dev_other"]


def test_missing_utterances(tree: Path, trains: Path, tmp_path: Path, ids, facts, problems_of) -> None:
    (tree / "1h/0/clean/10/1/10-1-0001.flac").unlink()
    shutil.rmtree(tree / "9h")
    shutil.rmtree(trains / "train-other-500")
    build = partial(write_librilight, ids=ids, facts=facts)
    for subset, expected in (("10min-0", "1 of 2 utterances are missing, first 10-1-0001"),
                             ("9h", "1 of 1 utterances are missing, first 10-2-0000"),
                             ("10h", "2 of 13 utterances are missing, first 10-1-0001")):  # fmt: skip
        problems = problems_of(IncompleteSplitError, partial(build, tree, subset=subset), tmp_path / "data")
        assert problems == [f"{subset}: {expected}"]
    problems = problems_of(IncompleteSplitError, partial(build, trains), tmp_path / "data")
    absent = f"; {trains} has no folder train-other-500"
    assert problems == [
        *(f"10min-{fold}: 2 of 2 utterances are missing, first 1{fold}-1-0000{absent}" for fold in (1, 3, 5)),
        f"1h: 6 of 12 utterances are missing, first 11-1-0000{absent}",
        f"10h: 6 of 13 utterances are missing, first 11-1-0000{absent}",
    ]


def test_the_tree_decides_on_the_numbering_of_folds_1_to_5(tree, tmp_path, ids, facts, problems_of) -> None:
    (tree / "1h/1").rename(tree / "1h/x")
    (tree / "1h/2").rename(tree / "1h/1")
    (tree / "1h/x").rename(tree / "1h/2")
    written = write_librilight(tree, tmp_path / "data", subset="10min-1", ids=ids, facts=facts)
    assert names_in(tmp_path / "data/train.tsv") == ids["10min-2"]
    assert len(written.warnings) == 1
    assert written.warnings[0].startswith("10min-1: its 2 utterances are not those of the published split")
    assert written.warnings[0].endswith(
        "this list was rebuilt and is unconfirmed, so the utterances that were found are taken"
    )
    (tree / "1h/0").rename(tree / "1h/x")
    (tree / "1h/1").rename(tree / "1h/0")
    build = partial(write_librilight, tree, subset="10min-0", ids=ids, facts=facts)
    expected = ["10min-0: 2 of 2 utterances are missing, first 10-1-0000"]
    assert problems_of(IncompleteSplitError, build, tmp_path / "out") == expected


def test_an_unknown_utterance_in_the_tree(tree: Path, tmp_path: Path, ids, facts, chapter, problems_of) -> None:
    chapter(tree / "9h/other", 77, 1, 1)
    build = partial(write_librilight, tree, subset="9h", ids=ids, facts=facts)
    expected = ["9h: 2 utterances, the published split has 1"]
    assert problems_of(IncompleteSplitError, build, tmp_path / "data") == expected


def test_a_doubled_utterance(tree: Path, trains: Path, tmp_path: Path, ids, facts, problems_of) -> None:
    shutil.copytree(tree / "1h/0/clean/10", tree / "1h/3/clean/10")
    shutil.copytree(trains / "train-clean-100/10", trains / "train-clean-360/10")
    expected = [f"{tree}/1h/3/clean/10/1: 10-1-000{n} is also 1h/0/clean/10/1/10-1-000{n}.flac" for n in (0, 1)]
    build = partial(write_librilight, ids=ids, facts=facts)
    assert problems_of(ManifestError, partial(build, tree, subset="1h"), tmp_path / "data") == expected
    problems = problems_of(ManifestError, partial(build, trains, subset="10min-0"), tmp_path / "data")
    assert problems[0].startswith(f"{trains}/train-clean-360/10/1: 10-1-0000 is also train-clean-100/10/1/")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--subset='10min': one of 10min-0, 10min-1, .*, 1h, 9h, 10h$"):
        write_librilight(tmp_path, tmp_path / "data", subset="10min")
    with pytest.raises(ManifestError, match="no Libri-light; looked in it, in librispeech_finetuning for 1h, 9h, and"):
        write_librilight(tmp_path, tmp_path / "data", subset="1h")


def test_the_command_asks_for_the_published_utterances(trains: Path, tmp_path: Path, capsys) -> None:
    assert main(["manifest", "librilight", str(trains), "--subset", "10min-0", "--out", str(tmp_path / "data")]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "10min-0: 48 of 48 utterances are missing, first 3526-175658-0000",
        "fairseq-parp manifest: 1 problem(s)",
    ]
