"""The shipped experiment files: planned by the command itself, and what they ask for is what the paper reports."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from fairseq_parp import cli
from fairseq_parp.adapters import read_adapters

FOLDER = Path(__file__).parents[2] / "configs" / "experiments"

RUNS = {
    "an4_sweep": (44, 60),  # 2 seeds x (dense, 4 sparsities of mpi, omp, parp, ...), and IMP's rewinds and rounds
    "an4_intervals": (14, 14),
    "small_transfer": (22, 23),
    "small_joint": (4, 4),
    "full_size": (70, 70),
    "an4_converged": (20, 20),
    "sweep_base": (165, 195),  # 3 splits x (dense, 6 methods x 9 sparsities), 3 x (a rewind, 9 rounds)
    "sweep_large": (165, 195),
    "sweep_xlsr": (165, 195),
    "intervals": (33, 33),
    "high_sparsity": (39, 69),
    "transfer": (210, 210),
    "joint": (44, 44),
    "adapters": (24, 24),
    "classification": (24, 24),
    "an4_methods": (20, 20),
    "languages": (12, 12),
    "s3_router_finetuning": (15, 15),
    "s3_router_pruning": (21, 21),
    "s3_router_languages": (20, 20),
    "scenarios": (9, 12),  # 3 base models; 6 that go on from one of 3 first trainings
    "scenarios_small": (15, 22),  # three seeds of vgs_plus and of two orders
    "grounded_parp_encoders": (5, 7),
    "grounded_parp": (36, 36),  # 6 encoders x (dense, parp) x 3 seeds
    "cmcm_small": (12, 12),  # 4 variants x 3 seeds
    "digits": (3, 3),
    "glue": (49, 49),  # 7 tasks x (dense, 3 methods x 2 sparsities)
}


def test_every_file_is_listed_here() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_the_command_plans_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = FOLDER / f"{name}.yaml"
    assert cli.main(["experiment", str(file), "--dry-run", "--out", "/nowhere"]) == 0
    shown = capsys.readouterr().out
    runs, trainings = RUNS[name]
    assert f"{name}: {runs} runs need {trainings} trainings of " in shown
    assert shown.count("\nfairseq-hydra-train ") == trainings
    assert f"fairseq-parp experiment configs/experiments/{name}.yaml" in file.read_text()


def test_the_sweeps_train_as_long_as_the_scripts_where_they_freeze(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["experiment", str(FOLDER / "sweep_base.yaml"), "protocol=paper", "train_on=[10h]", "--dry-run"]
    assert cli.main(words) == 0
    commands = [line for line in capsys.readouterr().out.splitlines() if "10h-paper-parp_p-0.5" in line]
    (train,) = [line for line in commands if line.startswith("fairseq-hydra-train")]
    assert "optimization.max_update=12000" in train
    assert "task.pruning.interval=27" in train
    assert "model.freeze_finetune_updates=0" in train


def test_the_top_layers_adapted_stand_beside_the_same_layers_finetuned(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["experiment", str(FOLDER / "adapters.yaml"), "--dry-run"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fairseq-hydra-train ")]
    asked = {Path(re.findall(r"checkpoint.save_dir=(\S+)", line)[0]).name: shlex.split(line)[-1] for line in lines}
    assert asked == {
        f"{name}{layers}-dense-seed2337": f"+task.adapters={{kind:{kind},layers:{layers}}}"
        for name, kind in (("adapted", "bottleneck"), ("finetuned", "top_n"))
        for layers in range(1, 13)
    }
    for override in asked.values():
        keys = yaml.safe_load(override.partition("=")[2].replace(":", ": "))
        assert read_adapters(keys).identity().items() >= keys.items()


def test_overrides_stand_before_and_after_options(capsys: pytest.CaptureFixture[str]) -> None:
    _, arguments = cli.parse(["experiment", "some.yaml", "seed=[3]", "--dry-run", "updates=[5]"])
    assert (arguments.overrides, arguments.dry_run) == (["seed=[3]", "updates=[5]"], True)
    with pytest.raises(SystemExit):
        cli.parse(["experiment", "some.yaml", "--dry-run", "updates=[5]", "--no-such-option"])
    with pytest.raises(SystemExit):
        cli.parse(["report", "some.pt", "--json", "updates=[5]"])
    assert capsys.readouterr().err.count("unrecognized arguments: ") == 2
