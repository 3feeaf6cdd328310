"""An experiment goes on only while the files that its steps have read keep their content."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fairseq_parp import cli
from fairseq_parp.environment.paths import configs
from fairseq_parp.errors import ExperimentFolderError, ExperimentInputError
from fairseq_parp.experiments.conduct import conduct
from fairseq_parp.experiments.description import read_experiment
from fairseq_parp.experiments.plan import Plan
from fairseq_parp.experiments.progress import Progress
from fairseq_parp.experiments.steps import Step

FILES = {
    "speech/train.tsv": "/audio\na.flac\t1600\n",
    "speech/train.ltr": "A B |\n",
    "speech/valid.ltr": "B |\n",
    "speech/dict.ltr.txt": "| 3\nB 2\nA 1\n",
    "speech/test.tsv": "/audio\nb.flac\t1600\n",
    "speech/test.ltr": "B |\n",
    "model.pt": "weights",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder in which every step of a small experiment is finished."""
    (tmp_path / "speech").mkdir()
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "mine.yaml").write_text((configs() / "small_10m.yaml").read_text())
    (tmp_path / "try.yaml").write_text(
        f"config: mine.yaml\ncheckpoint: {tmp_path / 'model.pt'}\ndata: {tmp_path / 'speech'}\n"
        "runs: [{method: dense}, {method: parp, sparsity: 0.5}]\n"
    )
    plan = planned(tmp_path)
    for step in plan.steps.values():
        Progress(plan.out).write(step, finished=False)
        Progress(plan.out).write(step, finished=True)
    return tmp_path


def planned(place: Path) -> Plan:
    return Plan(read_experiment(place / "try.yaml"), place / "out")


def go_on(place: Path) -> None:
    plan = planned(place)
    Progress(plan.out).require_same(plan.steps.values())


def test_unchanged_files_and_changed_comments_are_the_same_experiment(place: Path) -> None:
    go_on(place)
    recipe = place / "mine.yaml"
    recipe.write_text("# a remark\n" + recipe.read_text())
    (place / "model.pt").write_text(FILES["model.pt"])
    go_on(place)


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_another_content_is_refused_by_name(place: Path, name: str) -> None:
    (place / name).write_text(FILES[name].swapcase().replace("\t1600", "\t1700"))
    with pytest.raises(ExperimentInputError, match=rf"{name} has changed since step .* put the file back"):
        go_on(place)
    (place / name).unlink()
    with pytest.raises(ExperimentInputError, match=rf"{name} has changed since .* it is absent"):
        go_on(place)


def test_an_edited_recipe_is_refused_by_name(place: Path) -> None:
    recipe = place / "mine.yaml"
    text = recipe.read_text()
    recipe.write_text(text.replace("max_tokens: ", "max_tokens: 1"))
    assert recipe.read_text() != text
    with pytest.raises(ExperimentInputError, match=r"mine.yaml has changed since step 'train dense-seed1' read it"):
        go_on(place)


def test_a_step_keeps_the_content_that_it_started_with(place: Path) -> None:
    plan = planned(place)
    step, progress = plan.trainings[0], Progress(plan.out)
    progress.write(step, finished=False)
    (place / "model.pt").write_text("other weights")
    progress.write(step, finished=False)
    progress.write(step, finished=True)
    with pytest.raises(ExperimentInputError, match=r"model.pt"):
        progress.require_same([step])


def test_a_record_without_contents_is_refused(place: Path) -> None:
    for file in (place / "out" / "steps").glob("train_*.json"):
        record = json.loads(file.read_text())
        del record["inputs"]
        file.write_text(json.dumps(record))
    with pytest.raises(ExperimentInputError, match="its SHA-256 was not recorded"):
        go_on(place)


def test_a_file_that_changes_while_the_experiment_runs_is_refused_at_its_end(place: Path, tmp_path: Path) -> None:
    read, product = tmp_path / "read", tmp_path / "product"
    read.write_text("before")
    program = f"from pathlib import Path; Path({str(read)!r}).write_text('after'); Path({str(product)!r}).touch()"
    plan = planned(place)
    plan.out = tmp_path / "other"
    plan.steps = {"train x": Step("train x", ("python", "-c", program), product, (), reads=(read,))}
    with pytest.raises(ExperimentInputError, match=r"read has changed since step 'train x' read it"):
        conduct(plan, 1, lambda: None)
    assert Progress(plan.out).finished(plan.steps["train x"])


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_the_command_compares_before_it_shows_anything(
    place: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    words = ["experiment", str(place / "try.yaml"), "--out", str(place / "out"), *options]
    if options:
        assert cli.main(words) == 0
        assert "left: 2 trainings" in capsys.readouterr().out, "no product is there"
    (place / "model.pt").write_text("other weights")
    assert cli.main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "model.pt has changed since step" in shown.err
    assert f"remove the whole folder {place / 'out'}" in shown.err


def test_without_the_folder_that_is_named_the_other_experiment_begins(place: Path) -> None:
    description = place / "try.yaml"
    description.write_text(description.read_text() + "lr: 0.02\n")
    with pytest.raises(ExperimentFolderError, match=r"name another --out, or remove the whole folder (.*)$") as refused:
        go_on(place)
    shutil.rmtree(str(refused.value).rpartition("the whole folder ")[2])
    go_on(place)
    assert not (place / "out").exists()


def test_every_kind_of_step_refuses_what_it_has_read(place: Path) -> None:
    """Experiments that share a folder share steps: a mask of an earlier one may be all that read the old weights."""
    (place / "model.pt").write_text("other weights")
    plan = planned(place)
    refused = set()
    for step in plan.steps.values():
        try:
            Progress(plan.out).require_same([step])
        except ExperimentInputError as error:
            refused.add(error.step)
    assert refused == {"train dense-seed1", "train parp-0.5-every20-seed1", "mask mpi-0.5"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "unreadable content"),
        ("[1, 2]", "unreadable content"),
        ("{}", "argv None"),
        ('{"argv": 5, "finished": true}', "argv 5"),
        ('{"argv": ["fairseq-hydra-train", 1], "finished": true}', r"argv \['fairseq-hydra-train', 1\]"),
        ('{"argv": [], "inputs": ["a"], "finished": true}', r"inputs \['a'\]"),
        ('{"argv": [], "inputs": {"a": 1}, "finished": true}', r"inputs \{'a': 1\}"),
        ('{"argv": []}', "finished None"),
        ('{"argv": [], "finished": "no"}', "finished 'no'"),
    ],
)
def test_a_damaged_record_of_a_step_is_named(place: Path, content: str, words: str) -> None:
    file = next((place / "out" / "steps").glob("train_*.json"))
    file.write_text(content)
    with pytest.raises(ExperimentFolderError, match=rf"{file.name}.*{words}"):
        go_on(place)
    plan = planned(place)
    with pytest.raises(ExperimentFolderError, match=rf"{file.name}.*{words}"):
        Progress(plan.out).left(plan.steps.values())


def test_a_record_of_before_0_2_is_the_same_experiment(place: Path) -> None:
    for file in (place / "out" / "steps").glob("*.json"):
        record = json.loads(file.read_text())
        file.write_text(json.dumps({**record, "words": record.pop("argv")}))
    go_on(place)
