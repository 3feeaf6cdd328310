"""The pictures: made from real files, there when there is something to show, and not blank."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
import torch
from made_up import decode, log, row, save, weights

from fairseq_parp import cli
from fairseq_parp.errors import CheckpointError
from fairseq_parp.experiments.plots import draw_all
from fairseq_parp.experiments.plots.churn import _points
from fairseq_parp.experiments.plots.churn import figures as draw_churn
from fairseq_parp.experiments.plots.cost import figures as draw_cost
from fairseq_parp.experiments.plots.intervals import pretrained_cut
from fairseq_parp.experiments.plots.overlap import _by_model, _few
from fairseq_parp.experiments.results import ResultRow, write_results
from fairseq_parp.sparsity.magnitude import magnitude_mask

GRID = [
    ("dense", 0.0, {}), ("parp", 0.5, {}), ("parp", 0.5, {"seed": 2, "uer": 62.0}), ("parp", 0.7, {"uer": 70.0}),
    ("omp", 0.5, {"finetunings": 2}), ("mpi", 0.5, {}), ("parp", 0.5, {"interval": None, "run": "never", "uer": 70.0}),
]  # fmt: skip


@pytest.fixture
def rows(tmp_path: Path) -> list[ResultRow]:
    """Runs with all their files."""
    made = [row(method, sparsity, **others) for method, sparsity, others in GRID]
    for number, each in enumerate(made):
        save(tmp_path, each, 0.02 * number)
    return made


def pixels(path: Path) -> bytes:
    """Decode a PNG and return its filtered bytes, for want of a library."""
    content, data, at = path.read_bytes(), b"", 8
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    while at < len(content):
        (length,), kind = struct.unpack(">I", content[at : at + 4]), content[at + 4 : at + 8]
        chunk = content[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + chunk) == struct.unpack(">I", content[at + 8 + length : at + 12 + length])[0]
        data += chunk if kind == b"IDAT" else b""
        at += length + 12
    return zlib.decompress(data)


def test_all_pictures_are_made(rows: list[ResultRow], tmp_path: Path) -> None:
    made = {path.name: path for path in draw_all(rows, tmp_path, tmp_path / "new")}
    assert list(made) == [
        "error_rates.png", "intervals.png", "layers.png", "churn.png", "overlap-0.5.png", "cost.png",
    ]  # fmt: skip
    for path in made.values():
        assert len(set(pixels(path))) > 50, path
    assert len({path.read_bytes() for path in made.values()}) == len(made)


def test_updates_and_finetunings_have_whole_ticks_and_the_legend_hides_no_bar(tmp_path: Path) -> None:
    once = row("parp", 0.5, updates=20, interval=20)
    save(tmp_path, once)
    ((_, churn),) = draw_churn([once], tmp_path)
    assert list(churn.axes[0].get_xticks()) == [20]
    rows = [row("parp", 0.5), row("omp", 0.5, finetunings=2)]
    ((_, cost),) = draw_cost(rows, tmp_path)
    cost.draw_without_rendering()
    total = cost.axes[1]
    assert all(float(tick).is_integer() for tick in total.get_xticks())
    legend = total.get_legend().get_window_extent()
    assert not any(legend.overlaps(bar.get_window_extent()) for bar in total.patches)


def test_without_the_runs_folders_what_needs_none_is_drawn(rows: list[ResultRow], tmp_path: Path) -> None:
    made = [path.name for path in draw_all(rows, tmp_path / "elsewhere", tmp_path / "out")]
    assert made == ["error_rates.png", "intervals.png", "cost.png"]


def test_pictures_that_have_nothing_to_show_are_not_made(tmp_path: Path) -> None:
    dense, parp = row("dense", 0.0), row("parp", 0.5, interval=None, wer=None, iou_mpi=None)
    assert list(draw_all([dense], tmp_path, tmp_path)) == []
    assert [path.name for path in draw_all([dense, parp], tmp_path, tmp_path)] == ["error_rates.png", "cost.png"]
    save(tmp_path, parp)
    assert [path.name for path in draw_all([dense, parp], tmp_path, tmp_path)] == [
        "error_rates.png", "layers.png", "cost.png",
    ]  # fmt: skip


def test_several_splits_protocols_and_training_sets(tmp_path: Path) -> None:
    rows = [
        row("dense", 0.0), row("parp", 0.5), row("parp", 0.5, split="other"),
        row("parp", 0.5, protocol="paper", run="p"), row("dense", 0.0, protocol="paper", run="q"),
        row("parp", 0.5, data="dutch", run="r", wer=None),
        row("fixed", 0.5, mask_from="dutch", run="s"),
    ]  # fmt: skip
    for each in rows:
        save(tmp_path, each)
    made = [path.name for path in draw_all(rows, tmp_path, tmp_path / "out")]
    assert made == ["error_rates.png", "layers.png", "churn.png", "overlap-0.5.png", "cost.png"]


def test_of_too_many_masks_the_main_settings_are_compared() -> None:
    many = [row("parp", 0.5, interval=n, run=f"every-{n}") for n in range(1, 9)]
    main = [row("parp", 0.5, seed=2), row("parp", 0.5, seed=1), row("omp", 0.5)]
    assert [each.run for each in _few([*many, *main], {"parp-0.5-s1", "omp-0.5-s1"})] == [
        "parp-0.5-s1", "omp-0.5-s1", *(f"every-{n}" for n in range(1, 7)),
    ]  # fmt: skip
    assert [each.run for each in _few(main, set())] == ["parp-0.5-s1", "parp-0.5-s2", "omp-0.5-s1"]


def test_training_sets_are_compared_where_their_pretrained_model_is_the_same(tmp_path: Path) -> None:
    rows = [
        row("parp", 0.5, data=data, run=data, pretrained_mask=f"{data}.safetensors")
        for data in ("dutch", "german", "x")
    ]
    for each in rows:
        save(tmp_path, each)
    magnitude_mask(weights(5), 0.5).save(tmp_path / "x.safetensors")
    assert [[row.run for row in members] for _, members in _by_model(rows, tmp_path)] == [["dutch", "german"], ["x"]]
    assert len(_by_model(rows, tmp_path / "elsewhere")) == 3


def test_a_damaged_checkpoint_is_named(rows: list[ResultRow], tmp_path: Path) -> None:
    (tmp_path / rows[1].checkpoint).write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(CheckpointError, match=r"parp-0\.5-s1/checkpoint_last\.pt"):
        list(draw_all(rows, tmp_path, tmp_path / "out"))


def test_churn_is_told_once_for_each_reprune(tmp_path: Path) -> None:
    made = row("parp", 0.5, interval=50, updates=120)
    save(tmp_path, made)
    log(tmp_path / made.run / "train.log", made, magnitude_mask(weights(0), 0.5))
    points = _points(made, tmp_path)
    assert list(points) == [50, 100, 120]
    size = magnitude_mask(weights(0), 0.5).size()
    assert points[50] == pytest.approx(100 * int(0.05 * size) / size)


def test_the_cut_is_the_smallest_magnitude_that_mpi_keeps(tmp_path: Path) -> None:
    source, mask = tmp_path / "pretrained.pt", tmp_path / "mpi.safetensors"
    torch.save({"model": weights(0), "cfg": {"model": {}}, "args": None}, source)
    magnitude_mask(weights(0), 0.5).save(mask, source=str(source))
    magnitudes = sorted(abs(float(v)) for values in weights(0).values() for v in values.view(-1))
    assert pretrained_cut(mask) == pytest.approx(magnitudes[len(magnitudes) // 2])
    source.unlink()
    assert pretrained_cut(mask) is None
    assert pretrained_cut(tmp_path / "none.safetensors") is None


def test_the_command_writes_summary_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [decode(tmp_path, row("dense", 0.0), [1] * 10), decode(tmp_path, row("parp", 0.5), [2] * 10)]
    write_results(tmp_path / "results.tsv", rows)
    assert cli.main(["plot", str(tmp_path / "results.tsv")]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith((tmp_path / "results" / "summary.md").read_text())
    assert "parp 0.5 against dense on test, 1 seed (fewer than 3): UER +" in shown
    for name in ("error_rates.png", "cost.png"):
        assert str(tmp_path / "results" / name) in shown
        assert (tmp_path / "results" / name).is_file()
    assert cli.main(["plot", str(tmp_path / "results.tsv"), "--out", str(tmp_path / "a" / "b")]) == 0
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == [
        "cost.png",
        "error_rates.png",
        "summary.md",
    ]


def test_a_users_mistake_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plot", str(tmp_path / "results.tsv")]) == 2
    assert capsys.readouterr().err == (f"fairseq-parp plot: {tmp_path}/results.tsv: no such file\n")
