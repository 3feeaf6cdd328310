from pathlib import Path

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from fairseq_parp.demo import run
from fairseq_parp.demo.folder import prepare
from fairseq_parp.demo.pack import pack
from fairseq_parp.demo.plot import Curve, _draw_layers, draw
from fairseq_parp.errors import ConfigError
from fairseq_parp.mask_files.counts import Count, Zeros
from fairseq_parp.mask_files.report import SparsityReport
from fairseq_parp.scoring import ErrorRate, Score


def result(method: str, zeros: int, errors: int) -> run.Result:
    layer = "w2v_encoder.w2v_model.encoder.layers.0"
    count = Count(zeros, 100)
    report = SparsityReport("x.pt", 300, None, {}, count, Zeros(count, {layer: count}, {"fc1": count}))
    return run.Result(method, report, Score(4, ErrorRate(errors, 0, 0, 200), ErrorRate(errors, 0, 0, 50)), 1.5)


def test_the_shipped_checkpoint_is_small_and_plain() -> None:
    assert run.PRETRAINED.stat().st_size < 6_000_000
    state = torch.load(run.PRETRAINED, weights_only=True)
    assert all(tensor.isfinite().all() for tensor in state["model"].values())
    assert "last_optimizer_state" not in state


def test_the_shipped_checkpoint_has_the_model_of_its_config() -> None:
    saved = torch.load(run.PRETRAINED, weights_only=True)["cfg"]
    asked = OmegaConf.to_container(OmegaConf.load(run.CONFIGS / "pretrain_small.yaml"))
    for section in ("model", "task", "criterion", "optimization"):
        told = {key: value for key, value in asked[section].items() if value != "???"}
        assert {key: saved[section][key] for key in told} == told


def test_packing_halves_the_weights_and_leaves_no_path(tmp_path: Path) -> None:
    state = torch.load(run.PRETRAINED, weights_only=True)
    state["model"] = {name: tensor.float() for name, tensor in state["model"].items()}
    state["cfg"]["task"]["data"] = "/somewhere/else"
    state["last_optimizer_state"] = {"big": torch.zeros(1000)}
    torch.save(state, tmp_path / "trained.pt")
    pack(tmp_path / "trained.pt", tmp_path / "packed.pt")
    packed = torch.load(tmp_path / "packed.pt", weights_only=True)
    original = torch.load(run.PRETRAINED, weights_only=True)
    assert packed["cfg"] == original["cfg"]
    assert all(torch.equal(packed["model"][name], tensor) for name, tensor in original["model"].items())
    assert b"/somewhere/else" not in (tmp_path / "packed.pt").read_bytes()


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    runs = {"dense": Curve([50, 100], [80.0, 40.0], {"0": 0.0}), "parp": Curve([50, 100], [82.0, 44.0], {"0": 0.5})}
    draw(runs, 0.5, tmp_path / "new" / "demo.png")
    assert (tmp_path / "new" / "demo.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_has_a_row_for_each_method() -> None:
    lines = run._table([result("dense", 0, 50), result("parp", 50, 60)]).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["dense", "0.0000", "25.00", "100.00", "1.50"],
        ["parp", "0.5000", "30.00", "120.00", "1.50"],
    ]


@pytest.mark.parametrize(("errors", "points"), [(60, "+5.00"), (40, "-5.00"), (50, "+0.00")])
def test_one_seed_gives_a_difference_and_no_verdict(errors: int, points: str) -> None:
    told = run._difference(result("dense", 0, 50), result("parp", 50, errors))
    assert told == f"UER of PARP minus dense: {points} points. One seed: no verdict."


def test_only_a_folder_of_its_own_is_replaced(tmp_path: Path) -> None:
    prepare(tmp_path / "new")
    (tmp_path / "new" / "old").touch()
    prepare(tmp_path / "new")
    assert not (tmp_path / "new" / "old").exists()
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="no demo made"):
        prepare(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_the_commands_survive_a_folder_with_a_space(tmp_path: Path) -> None:
    """fairseq-generate takes the folder as a word of its own, a training as the value of an override of hydra's."""
    out = tmp_path / "my demo"
    data = (out / "data").resolve()
    assert data in [Path(word).resolve() for word in run._decoding(out, "parp").argv]
    words = run._training(out, "parp", from_random=True).argv
    (override,) = (word for word in words if word.startswith("task.data="))
    assert Path(OverridesParser.create().parse_override(override).value()).resolve() == data


def test_a_dense_model_has_no_bar_in_the_picture_of_zeros() -> None:
    axes = Figure().subplots()
    runs = {"dense": Curve([50], [80.0], {"0": 0.0, "1": 0.0}), "parp": Curve([50], [82.0], {"0": 0.4, "1": 0.6})}
    _draw_layers(axes, runs, 0.5)
    assert [bar.get_height() for bar in axes.patches] == [0.4, 0.6]
    assert axes.get_legend_handles_labels()[1] == ["asked for, overall: 0.5", "parp"]
