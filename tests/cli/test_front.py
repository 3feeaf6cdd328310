"""``fairseq-parp train`` and ``fairseq-parp configs``: the shipped recipes from any folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fairseq_parp.cli import main
from fairseq_parp.commands.front import hydra_arguments
from fairseq_parp.environment.paths import PLUGIN, configs
from fairseq_parp.errors import ConfigError


def test_the_two_missing_arguments_are_filled_in_and_all_others_kept() -> None:
    words = ["-m", "--config-name", "base_10m", "task.pruning.sparsity=0.3,0.5", "+a.b=c", "--info"]
    filled_in = hydra_arguments(words)
    assert filled_in == ["--config-dir", str(configs()), *words[:3], f"common.user_dir={PLUGIN}", *words[3:]]


def test_what_is_given_is_kept(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").touch()
    words = ["--config-dir", str(tmp_path), "--config-name=own", "common.user_dir=/elsewhere"]
    assert hydra_arguments(words) == words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config-name", "bas_10m"], "--config-name='bas_10m': did you mean base_10m? "),
        (["task.data=D"], "--config-name=None: "),
        (["--config-name"], "--config-name='': "),
        (["--config-name", "own", "--config-dir", "/none"], "--config-dir='/none': no such folder"),
    ],
)
def test_a_recipe_that_is_not_there(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        hydra_arguments(words)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("task.dta=x", "task.dta='x': base_10m.yaml has no such key; did you mean data? "),
        (
            "task.pruning.sparsty=0.5",
            "task.pruning.sparsty='0.5': base_10m.yaml has no such key; did you mean sparsity? ",
        ),
        ("model.nothing=1", "A key that it does not set is added by +model.nothing=1"),
    ],
)
def test_a_key_that_the_recipe_lacks(word: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        hydra_arguments(["--config-name", "base_10m", "task.data=D", word])
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "word", ["+task.pruning.scope=ffn", "~task.normalize", "checkpoint.keep_last_epochs=3", "optimizer._name.x=1"]
)
def test_a_key_that_hydra_judges_is_passed_on(word: str) -> None:
    assert word in hydra_arguments(["--config-name", "base_10m", word])


def test_a_recipe_of_several_files_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("defaults: [base]\ntask: {_name: parp_finetuning}\n")
    words = ["--config-dir", str(tmp_path), "--config-name", "own", "task.data=D"]
    assert "task.data=D" in hydra_arguments(words)


def test_train_is_hydra_train_from_any_folder(tmp_path: Path) -> None:
    words = ["train", "--config-name", "base_10m", "task.data=D", "--cfg", "job"]
    code = "import sys; from fairseq_parp.cli import main; sys.exit(main())"
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}  # a user's choice
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, check=False, env=environ
    )
    assert (done.returncode, done.stderr) == (0, "")
    config = yaml.safe_load(done.stdout[done.stdout.index("_name: null") :])
    assert config["task"]["data"] == "D"
    assert config["common"]["user_dir"] == str(PLUGIN)


def test_configs_are_listed_shown_and_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["configs", "list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed[0] == str(configs())
    assert {line.split()[0] for line in listed[1:]} >= {"base_10m", "small_10m", "experiments/sweep_base"}
    assert main(["configs", "show", "base_10m"]) == 0
    assert capsys.readouterr().out == (configs() / "base_10m.yaml").read_text()
    assert main(["configs", "copy", "base_10m", "-o", "own.yaml"]) == 0
    own, shipped = (yaml.safe_load(path.read_text()) for path in (Path("own.yaml"), configs() / "base_10m.yaml"))
    assert own["common"].pop("user_dir") == str(PLUGIN)
    assert shipped["common"].pop("user_dir") == "fairseq_parp"
    assert own == shipped
    assert main(["configs", "copy", "base_10m", "-o", "own.yaml"]) == 2
    assert "own.yaml': exists already" in capsys.readouterr().err


def test_a_library_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "fairseq_parp.demo.run", raising=False)
    monkeypatch.delitem(sys.modules, "fairseq_parp.demo.plot", raising=False)
    monkeypatch.delitem(sys.modules, "fairseq_parp.figures", raising=False)
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 2
    assert capsys.readouterr().err == (
        "fairseq-parp demo: needs matplotlib, which is not installed; fairseq-parp doctor shows how to install it\n"
    )


def test_the_benchmarks_come_with_a_checkout(tmp_path: Path) -> None:
    """pip installs the package alone; the verb says where the rest is."""
    shutil.copytree(PLUGIN, tmp_path / "fairseq_parp", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "fairseq_parp", "bench", "--only", "nothing"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line == (
        f"fairseq-parp bench: the benchmarks come with a checkout of the project, and {tmp_path} is not one; "
        "clone the project and run fairseq-parp bench there"
    )
