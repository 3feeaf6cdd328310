"""The benchmark runs and judges rightly; how fast anything is, no test says."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import gpu, inference, run, weights
from benchmarks import rows as judged
from benchmarks.cost import MAX_RUNS, Cost, measured, typical
from benchmarks.memory import transient_bytes
from benchmarks.record import read
from benchmarks.reprune import PEERS, Stage
from benchmarks.rows import RUNS, Bar, compare, differing, in_turn
from benchmarks.trainings import Training, write_inputs
from benchmarks.weights import BASE, LARGE, STATES, Size
from fairseq_parp import cli
from fairseq_parp.sparsity.counting import zero_count

TINY = Size(1, 16)


def test_every_row_is_measured_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")  # no peer is downloaded for a test
    monkeypatch.setattr(judged, "RUNS", (1,))
    monkeypatch.setattr(judged, "RUNS_OF_SLOW", (1,))
    monkeypatch.setattr(judged, "RUNS_OF_SLOWEST", 1)
    rows = run.bench(None, tmp_path / "new folder" / "rows.json", TINY)
    written = json.loads((tmp_path / "new folder" / "rows.json").read_text())
    every = [job for name in run.MODULES for job in import_module(f"benchmarks.{name}").jobs(TINY)]
    assert [row["name"] for row in written] == [name for job in every for name in job.names]
    assert {"name", "ours", "peer", "ratio", "bar", "holds", "why", "machine", "load"} <= set(written[0])
    assert all(row.null or row.level or row.bar is None for row in rows if row.holds is None)
    assert all(row.why and row.holds is None for row in rows if row.null)
    missed = [row.why for row in rows if row.holds is False and any(peer in row.name for peer in PEERS)]
    assert missed
    assert all(
        re.fullmatch(r"the peer .* CPU time as \d+ copies .* leaves \d+\.\d\d copies .*", why or "") for why in missed
    )
    waits = {"training, waiting for data", "saving at a re-prune, time", "saving between re-prunes, time"}
    assert {row.name for row in rows if row.by == "wall"} == waits | {"re-prune on a GPU"}
    assert (tmp_path / "new folder" / "rows.png").stat().st_size > 10_000
    records = read(tmp_path / "new folder" / "rows.tsv")
    assert [(one.row, one.by) for one in records] == [(row.name, row.by) for row in rows if row.runs]
    assert all(
        abs(float(one.ratio) / row.ratio - 1) < 0.01
        for one, row in zip(records, (r for r in rows if r.runs), strict=True)
    )
    here = {(one.date, one.commit, one.machine) for one in records}
    assert here == {(written[0]["date"], written[0]["commit"], written[0]["machine"])}
    shown = capsys.readouterr().out
    assert all(row.name in shown for row in rows)


def test_only_some_rows(tmp_path: Path) -> None:
    rows = run.bench("warm: half", tmp_path / "rows.json", TINY)
    assert [row.name for row in rows] == ["re-prune, warm: half zeros"]
    assert logging.getLogger("another program").isEnabledFor(logging.WARNING)


def test_a_name_that_no_row_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--only", "moon"]) == 2
    assert (
        "--only='moon': must be part of a row's name: import of fairseq and the plugin; re-prune, cold: fresh;"
        in capsys.readouterr().err
    )


def test_the_sizes_are_those_of_the_models() -> None:
    for size, total, tensors in ((BASE, 85_017_600, 144), (LARGE, 302_211_072, 288)):
        shapes = list(size.shapes())
        assert (sum(torch.Size(shape).numel() for shape in shapes), len(shapes)) == (total, tensors)


@pytest.mark.parametrize("state", STATES)
def test_ours_and_the_peers_do_the_same_work(state: str) -> None:
    stage = Stage(STATES[state](TINY))
    stage.restore()
    stage.reprune()
    ours = torch.cat([weight.view(-1) for weight in stage.live.values()])
    for peer in PEERS:
        stage.restore()
        theirs = torch.cat([weight.detach().view(-1) for weight in getattr(stage, peer)()])
        if peer == "kthvalue":  # it cannot tell ties apart, and zeroes them all
            assert not theirs[ours == 0].any()
        else:
            assert torch.count_nonzero(theirs) == torch.count_nonzero(ours)
        if state == "fresh":
            assert torch.equal(theirs, ours)


def test_half_of_the_stepped_weights_moved_by_one_step() -> None:
    values = torch.cat([weight.view(-1) for weight in weights.stepped(TINY).values()]).abs()
    assert int((values < 1.01e-4).sum()) >= len(values) // 2


@pytest.mark.parametrize(
    ("bar", "ours", "peer", "ratio", "verdict", "why"),
    [
        (Bar(2.5), [2.0, 2.4, 2.2], [1.0, 1.0, 1.1], 2.0, "yes", None),
        (Bar(1.8), [2.0, 2.4, 2.2], [1.0, 1.0, 1.1], 2.0, "no", None),
        (Bar(1.8), [2.0, 2.4, 2.2], [1.0, 1.0, 1.3], 2.0, "null", "the pairs disagree: 1.69 to 2.4"),
        (Bar(2.5), [2.0] * 8 + [9.0], [1.0] * 9, 2.0, "yes", None),
        (Bar(2.5), [2.0] * 7 + [9.0] * 2, [1.0] * 9, 2.0, "null", "the pairs disagree: 2 to 9"),
        (Bar(2.0), [1.0, 1.81, 1.9] + [2.0] * 4 + [2.19, 9.0], [1.0] * 9, 2.0, "level",
         "the middle pairs are within 10% of the bar: 1.81 to 2.19"),
        (Bar(2.0), [1.79, 2.0, 2.1], [1.0] * 3, 2.0, "null", "the pairs disagree: 1.79 to 2.1"),
        (Bar(2.0, faster=True), [1.0] * 3, [1.9, 2.0, 2.21], 2.0, "null", "the pairs disagree: 1.9 to 2.21"),
        (Bar(None), [2.0, 9.0, 1.0], [1.0, 1.0, 1.0], 2.0, "-", None),
        (Bar(150, faster=True), [0.01, 0.01, 0.01], [1.6, 1.5, 1.55], 155.0, "yes", None),
        (Bar(161, faster=True), [0.01, 0.01, 0.01], [1.6, 1.5, 1.55], 155.0, "no", None),
    ],
)  # fmt: skip
def test_judgement(bar: Bar, ours: list[float], peer: list[float], ratio: float, verdict: str, why: str | None) -> None:
    noise = [
        [Cost(100.0 * (3 + n) ** place, value) for n, value in enumerate(side)]
        for place, side in enumerate((ours, peer))
    ]
    row = compare("r", bar, "p", *noise)
    assert (round(row.ratio, 6), row.verdict, row.by, row.why) == (ratio, verdict, "cpu", why)
    assert row.holds is {"yes": True, "no": False}.get(verdict)
    turned = compare("r", bar, "p", *([Cost(cost.cpu, cost.wall) for cost in side] for side in noise), by="wall")
    assert (turned.ratio, turned.verdict, turned.by) == (row.ratio, verdict, "wall")
    assert turned.wall_ratio == row.ratio


def spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_the_cost_counts_threads_and_processes_and_no_waiting() -> None:
    work = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        running = measured(other.stdout.readline)  # its child process goes on
        threads = [threading.Thread(target=spin, args=[0.1]) for _ in range(2)]

        def work_and_wait() -> None:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            subprocess.run([sys.executable, "-c", work], input="\n", text=True, stdout=subprocess.PIPE, check=True)
            time.sleep(0.2)

        every = measured(work_and_wait)
        ended = measured(lambda: other.communicate("\n"))
    assert 0.2 < running.cpu < 0.4
    assert 0.5 <= every.cpu < 0.6
    assert every.wall > 0.5
    assert ended.cpu < 0.1  # what a process has used is not counted again when it ends


def test_runs_are_paired_and_restored() -> None:
    done: list[str] = []
    ours, peer = in_turn(lambda: done.append("restore"), lambda: done.append("ours"), lambda: done.append("peer"))
    assert len(ours) == len(peer) == RUNS[0]
    assert done == ["restore", "ours"] + (["restore", "peer"] * MAX_RUNS + ["restore", "ours"] * MAX_RUNS) * RUNS[0]


@pytest.mark.parametrize(("differs", "pairs"), [((), 9), ((0,), 9), ((0, 1), 15), ((0, 1, 9, 10), 21), (range(99), 9)])
def test_more_pairs_are_measured_while_they_disagree_about_the_bar(
    differs: Sequence[int], pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter(range(1000))
    costs = (Cost(1.0, 1.0 + 0.5 * (n % 2 and n // 2 in differs)) for n in measured)
    monkeypatch.setattr(judged, "typical", lambda *_: next(costs))
    bar = Bar(1.2)
    ours, peer = in_turn(lambda: None, lambda: None, lambda: None, [Bar(9.0), bar])
    assert len(ours) == len(peer) == pairs
    assert compare("r", bar, "p", ours, peer).holds is (len(differs) < pairs / 2)


def test_pairs_at_the_bar_itself_seldom_agree() -> None:
    chance = np.random.default_rng(1)
    agreed = 0
    for _ in range(2000):
        above = chance.random(RUNS[-1]) < 0.5
        agreed += any(min(above[:n].sum(), n - above[:n].sum()) <= differing(n) for n in RUNS)
    assert 0.055 < agreed / 2000 < 0.095  # exactly 7.6 in 100


def test_one_measurement_is_the_median_of_half_a_cpu_second() -> None:
    lengths = iter([0.2, 0.05, 0.3])
    cost = typical(lambda: None, lambda: spin(next(lengths)))
    assert 0.2 <= cost.cpu < 0.25
    assert list(lengths) == []


def test_the_two_trainings_begin_alike_and_only_ours_prunes(tmp_path: Path) -> None:
    write_inputs(tmp_path, TINY)
    stock, ours, rarely = (Training(tmp_path, interval, 1) for interval in (None, 1, 1000))
    sizes = []
    for each in (stock, ours, rarely):
        each.update()
        each.save(tmp_path / "saved.pt")
        sizes.append((tmp_path / "saved.pt").stat().st_size)
    assert sizes[2] - sizes[1] > 3 * zero_count(
        0.5, ours.session.size if ours.session else 0
    )  # displaced values: 4 bytes
    assert stock.session is None
    assert ours.session is not None
    assert rarely.session is not None
    assert ours.session.live_zeros() == rarely.session.live_zeros() == zero_count(0.5, ours.session.size)
    rarely.go_on()
    assert rarely.session.live_zeros() < zero_count(0.5, ours.session.size)


def test_a_peak_that_is_gone_is_seen() -> None:
    assert 30 << 20 < transient_bytes(lambda: bytes(b"x" * (32 << 20))) < 40 << 20


@pytest.mark.parametrize("engine", inference.ENGINES)
def test_every_engine_computes_the_same(engine: str) -> None:
    needs, prepare = inference.ENGINES[engine]
    if any(find_spec(package) is None for package in needs):
        pytest.skip(f"{engine} is not installed")
    setting = inference.Setting(TINY, 0.9, 1)
    with torch.no_grad():
        source = setting.source()
        wanted, dense = inference.pruned(TINY, 0.9)(source), inference.pruned(TINY, 0.0)(source)
        found = torch.as_tensor(prepare(setting)(source))
    if "bf16" in engine:  # 8 bits a number: a hundredth off, and nearer to the pruned model than the dense one is
        assert (found - wanted).norm() < 0.015 * wanted.norm() < (dense - wanted).norm()
    else:
        assert (dense - wanted).abs().max() > 1e-3
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=5e-5)


def test_an_engine_that_is_not_there_leaves_a_row_without_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(inference.ENGINES, "OpenVINO", (("no_such_package",), inference.in_openvino))
    rows = run.bench("OpenVINO: 50%", tmp_path / "rows.json", TINY)
    assert [row.why for row in rows] == ["not installed: pip install no_such_package"]
    written = json.loads((tmp_path / "rows.json").read_text())
    assert (written[0]["ratio"], written[0]["holds"]) == (None, None)


def test_the_row_of_the_gpu_runs_on_any_device_and_waits_for_it() -> None:
    waited: list[bool] = []
    row = gpu.on("cpu", TINY, lambda: waited.append(True))
    assert row.runs in RUNS
    assert (row.bar, row.unit) == (6.0, "s")
    assert len(waited) == 2 * (1 + 2 * MAX_RUNS * row.runs)


@pytest.mark.parametrize(
    ("keys", "trains"), [({"kind": "bottleneck", "width": 4}, "adapters"), ({"kind": "head_only"}, "head")]
)
def test_bytes_that_train_are_three_times_the_trained_weights(
    keys: dict[str, object], trains: str, tmp_path: Path
) -> None:
    """Adam keeps two values beside each gradient, 4 bytes each."""
    write_inputs(tmp_path, TINY)
    training = Training(tmp_path, None, 1, keys)
    assert training.trained_bytes() == 0
    training.update()
    trained = training.trained
    assert trained is not None
    assert trained.kinds[trains] > 0
    assert training.trained_bytes() == 3 * 4 * trained.count
