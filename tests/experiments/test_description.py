from collections.abc import Callable
from pathlib import Path

import pytest

from fairseq_parp.errors import ConfigError, ExperimentFolderError, MissingToolError, ParpError
from fairseq_parp.experiments.conduct import require_inputs
from fairseq_parp.experiments.description import read_experiment
from fairseq_parp.experiments.launching import launched
from fairseq_parp.experiments.plan import Plan
from fairseq_parp.experiments.progress import Progress

Described = Callable[..., Plan]

BAD = {
    "an unknown method": (
        "runs: [{method: lottery, sparsity: 0.5}]",
        r"runs\[0\].method='lottery': must be one of dense",
    ),
    "an unknown protocol": ("protocol: fair\nruns: [{method: dense}]", r"runs\[0\].protocol='fair': .*matched, paper"),
    "an unknown key": ("sede: 1\nruns: [{method: dense}]", r"sede=1: no such key; did you mean seed\?"),
    "an unknown key of a run": ("runs: [{method: dense, intervall: 3}]", r"runs\[0\].intervall=3: .* interval\?"),
    "an unknown key of imp": ("imp: {rounds: 3}\nruns: [{method: dense}]", r"imp.rounds=3: no such key"),
    "IMP rounds in words": (
        "imp: {round_updates: many}\nruns: [{method: dense}]",
        r"imp.round_updates='many': must be a",
    ),
    "an IMP rate below 0": (
        "imp: {round_lr: -1}\nruns: [{method: dense}]",
        r"imp.round_lr=-1: must be a number above 0",
    ),
    "an unknown key of data": ("data: {a: {folder: x, path: y}}\nruns: [{method: dense}]", r"data.a.path='y': no such"),
    "no folder": ("data: {a: {test: [b]}}\nruns: [{method: dense}]", r"data.a.folder=None: must be given"),
    "an unknown config": (
        "data: {a: {folder: x, config: bse}}\nruns: [{method: dense}]",
        r"config='bse': no such file",
    ),
    "an unknown training set": (
        "runs: [{method: dense, train_on: dutch}]",
        r"runs\[0\].train_on='dutch': must be one of speech",
    ),
    "no runs": ("runs: []", r"runs=\[\]: must be a list"),
    "a run without method": ("runs: [{sparsity: 0.5}]", r"runs\[0\]=.*must be a mapping with a method"),
    "no sparsity": ("runs: [{method: mpi}]", r"runs\[0\].sparsity=None: must be a number in \(0, 1\)"),
    "sparsity 1": ("runs: [{method: mpi, sparsity: 1}]", r"runs\[0\].sparsity=1: must be a number"),
    "IMP between its steps": ("runs: [{method: imp, sparsity: [0.5, 0.75]}]", r"sparsity=0.75: IMP goes in steps"),
    "interval 0": (
        "runs: [{method: parp, sparsity: 0.5, interval: 0}]",
        r"runs\[0\].interval=0: must be a whole number",
    ),
    "parp_p that never prunes": ("runs: [{method: parp_p, sparsity: 0.5, interval: never}]", r"interval='never'"),
    "fixed without mask": (
        "runs: [{method: fixed, sparsity: 0.5}]",
        r"runs\[0\].mask_from=None: method fixed needs it",
    ),
    "mpi with a mask": ("runs: [{method: mpi, sparsity: 0.5, mask_from: speech}]", r"mask_from='speech': "),
    "lr below 0": ("lr: -1\nruns: [{method: dense}]", r"runs\[0\].lr=-1: must be a number above 0"),
    "settings that are no list": ("settings: 3\nruns: [{method: dense}]", r"settings=3: must be a list of texts"),
    "settings of data that are no list": (
        "data: {a: {folder: x, settings: 3}}\nruns: [{method: dense}]",
        r"data.a.settings=3: must be a list of texts",
    ),
    "a first training that is no variant": (
        "runs: [{method: dense, after: own, after_updates: 5}]",
        r"runs\[0\].after='own': must be one of",
    ),
    "a first training without a length": (
        "variants: {own: []}\nruns: [{method: dense, after: own}]",
        r"runs\[0\].after_updates=None: must be a whole number",
    ),
    "a length of no first training": ("runs: [{method: dense, after_updates: 5}]", r"after_updates=5: needs after"),
    "a first training before OMP": (
        "variants: {own: []}\nruns: [{method: omp, sparsity: 0.5, after: own, after_updates: 5}]",
        r"runs\[0\].after='own': omp has trainings of its own",
    ),
    "a finetuning from nothing": (
        "data: {a: {folder: x, checkpoint: null}}\nruns: [{method: dense}]",
        r"data.a.checkpoint=None: must be the pretrained model",
    ),
    "pretraining beside finetuning": (
        "data: {a: x, b: {folder: x, config: grounded_small}}\nruns: [{method: dense}]",
        r"data='a, b': .*two experiments",
    ),
    "no YAML": ("runs: [", r"cannot be read \(ParserError"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=list(BAD))
def test_a_bad_description_is_one_line(text: str, message: str, described: Described) -> None:
    with pytest.raises(ConfigError, match=message):
        described(text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"FILE='.*none.yaml': no such file"):
        read_experiment(tmp_path / "none.yaml")


def test_lists_are_grids_and_doubles_are_one(described: Described) -> None:
    plan = described("seed: [1, 2]\nruns: [{method: [dense, mpi], sparsity: [0.5, 0.7]}, {method: dense, seed: 1}]")
    assert [run.name for run in plan.outcomes] == [
        "dense-seed1", "dense-seed2", "mpi-0.5-seed1", "mpi-0.5-seed2", "mpi-0.7-seed1", "mpi-0.7-seed2",
    ]  # fmt: skip


def test_keys_can_be_given_on_the_command_line(described: Described) -> None:
    plan = described("runs: [{method: dense}]", "data=elsewhere", "seed=[3]", "decoding.beam=5")
    assert [run.name for run in plan.outcomes] == ["dense-seed3"]
    assert plan.experiment.beam == 5
    assert list(plan.experiment.sets) == ["elsewhere"]


def test_an_entry_overrides_the_default_of_the_file(described: Described) -> None:
    plan = described("interval: 7\nruns: [{method: parp, sparsity: 0.5}, {method: parp, sparsity: 0.5, interval: 9}]")
    assert [run.interval for run in plan.outcomes] == [7, 9]


def test_data_and_checkpoint_must_be_there_before_anything_runs(described: Described, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    text = f"data: {{a: {{folder: {tmp_path / 'data'}}}}}\nruns: [{{method: dense}}]"
    with pytest.raises(ConfigError, match=r"data.speech.folder='/.*speech': no such folder"):
        require_inputs(described("runs: [{method: dense}]"))
    with pytest.raises(ConfigError, match=r"checkpoint='/.*model.pt': no such file"):
        require_inputs(described(text))


def test_a_folder_of_another_experiment_is_refused(described: Described) -> None:
    first, second = (described(f"runs: [{{method: dense, lr: {lr}}}]") for lr in (0.1, 0.2))
    Progress(first.out).write(first.steps["train dense-seed1"], finished=True)
    Progress(first.out).require_same(first.steps.values())
    with pytest.raises(
        ExperimentFolderError, match=r"train_dense-seed1.json belongs .*lr=\[0.1\]' where .*lr=\[0.2\]'"
    ):
        Progress(second.out).require_same(second.steps.values())


def test_a_damaged_file_of_a_step_is_named(described: Described) -> None:
    plan = described("runs: [{method: dense}]")
    file = plan.out / "steps" / "train_dense-seed1.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    with pytest.raises(ExperimentFolderError, match=r"train_dense-seed1.json"):
        Progress(plan.out).left(plan.steps.values())


def test_a_launcher_gets_the_trainings_alone(described: Described) -> None:
    plan = described("launcher: {name: submitit_slurm, partition: gpu}\nruns: [{method: dense}]")
    train, decode = plan.steps.values()
    words = launched(train, plan.experiment.launcher)
    assert words[: len(train.argv) + 1] == [train.argv[0], "--multirun", *train.argv[1:]]
    assert words[len(train.argv) + 1 :] == [
        "hydra/launcher=submitit_slurm",
        f"hydra.sweep.dir={train.product.parent / 'launcher'}",
        "hydra.sweep.subdir=.",
        "hydra.launcher.partition=gpu",
    ]
    assert launched(decode, plan.experiment.launcher) == decode.argv


def test_an_unknown_launcher_is_refused(described: Described, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "model.pt").touch()
    data = f"{{folder: {tmp_path / 'data'}, checkpoint: {tmp_path / 'model.pt'}}}"
    text = f"data: {{a: {data}}}\nruns: [{{method: dense}}]\n"
    require_inputs(described(text))
    with pytest.raises(ParpError, match=r"launcher.name='pbs': must be one of submitit_slurm") as error:
        require_inputs(described(text + "launcher: {name: pbs}"))
    assert not isinstance(error.value, MissingToolError)


def test_settings_of_one_training_set_are_of_its_trainings_alone(described: Described) -> None:
    data = "data: {a: {folder: x, settings: [task.labels=phn]}, b: x}\n"
    plan = described(f"{data}runs: [{{method: dense}}]\nsettings: [common.seed_provided=1]")
    a, b = (plan.steps[f"train {name}-dense-seed1"].argv for name in "ab")
    assert a[-2:] == ("common.seed_provided=1", "task.labels=phn")
    assert b[-1] == "common.seed_provided=1"
    with pytest.raises(ConfigError, match=r"settings='common\.seed=3': the plan sets this"):
        described("data: {a: {folder: x, settings: [common.seed=3]}}\nruns: [{method: dense}]")
