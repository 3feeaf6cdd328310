"""What a summary says of results whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_up import REFERENCES, UPDATES, decode, row

from fairseq_parp.errors import ComparisonError, ExperimentFileError
from fairseq_parp.experiments.results import ResultRow
from fairseq_parp.experiments.summary import summary, table
from fairseq_parp.experiments.systems import systems_of
from fairseq_parp.scoring import ResultsError

SOME, MORE, FEWER = [2] * 10, [3, 3, 3, 3, 3, 3, 4, 3, 2, 2], [1] * 10


def bullets(text: str) -> list[str]:
    return [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]


def cells(text: list[str]) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text if not line.startswith("|--")]


@pytest.fixture
def rows(tmp_path: Path) -> list[ResultRow]:
    """PARP is better at 0.5, equal at 0.1 and worse at 0.9 than dense; MPI is as PARP. One seed."""
    wrong = {("dense", 0.0): SOME, ("parp", 0.1): SOME, ("parp", 0.5): FEWER, ("parp", 0.9): MORE, ("mpi", 0.5): FEWER}
    return [decode(tmp_path, row(*system), errors) for system, errors in wrong.items()]


def test_one_seed_has_differences_and_no_verdict(rows: list[ResultRow], tmp_path: Path) -> None:
    told = bullets(summary(rows, tmp_path))
    assert [line.split(":")[0] for line in told] == [
        "parp 0.1 against dense on test, 1 seed (fewer than 3)",
        "parp 0.5 against dense on test, 1 seed (fewer than 3)",
        "parp 0.9 against dense on test, 1 seed (fewer than 3)",
        "mpi 0.5 against dense on test, 1 seed (fewer than 3)",
        "parp 0.5 against mpi 0.5 on test, 1 seed (fewer than 3)",
    ]
    assert all(line.count("no verdict") == 2 for line in told)
    assert "UER +0.00 points, 95 % interval [+0.00, +0.00], no verdict; WER +0.00 points" in told[0]
    units = sum(len(text) + 1 for text in REFERENCES)
    assert f"UER {-100 * 10 / units:+.2f} points" in told[1]


def test_three_seeds_have_verdicts(tmp_path: Path) -> None:
    """The error rates of PARP's seeds: lower at 0.5, higher at 0.9, at 0.1 lower in one and higher in another."""
    settings = [("dense", 0.0), ("parp", 0.1), ("parp", 0.5), ("parp", 0.9)]
    errors = [(15, 14, 16), (16, 14, 15), (5, 6, 5), (19, 18, 21)]
    made = [
        decode(tmp_path, row(*setting, seed=seed), [count // 10 + (n < count % 10) for n in range(10)])
        for setting, counts in zip(settings, errors, strict=True)
        for seed, count in enumerate(counts, start=1)
    ]
    text = summary(made, tmp_path)
    told = [line.split("; ")[0] for line in bullets(text)]
    assert all("3 paired seeds" in line for line in told)
    assert [line.rsplit(": ", 1)[1] for line in told] == ["not significant", "win", "loss"]
    assert text.count("Smallest difference that these seeds find with 80 % power: UER ") == 1


def test_the_rows_order_makes_no_difference(rows: list[ResultRow], tmp_path: Path) -> None:
    assert summary(rows[::-1], tmp_path) == summary(rows, tmp_path)


def test_the_table_shows_means_and_spread_over_seeds() -> None:
    made = [row("dense", 0, uer=60), row("parp", 0.5, uer=62, wer=90), row("parp", 0.5, seed=2, uer=63, wer=90)]
    head, dense, parp = cells(table(systems_of(made)))
    assert dict(zip(head, dense, strict=True))["UER, %"] == "60.00"
    assert dict(zip(head, dense, strict=True))["IOU with MPI (chance)"] == "-"
    assert dict(zip(head, parp, strict=True)) == {
        "split": "test", "method": "parp", "sparsity": "0.5", "measured": "0.5000", "seeds": "2",
        "UER, %": "62.50 (62.00 to 63.00)", "WER, %": "90.00", "IOU with MPI (chance)": "0.900 (0.333)",
        "finetunings": "1", "updates": "300", "seconds": "62",
    }  # fmt: skip


def test_columns_come_where_they_tell_something() -> None:
    plain = cells(
        table(systems_of([row("dense", 0, wer=None, seconds=None), row("parp", 0.5, wer=None, seconds=None)]))
    )
    assert plain[0] == [
        "split", "method", "sparsity", "measured", "UER, %", "IOU with MPI (chance)", "finetunings", "updates",
    ]  # fmt: skip
    varied = [
        row("parp", 0.5),
        row("parp", 0.5, interval=None, run="a"),
        row("parp", 0.5, lr=0.01, run="b"),
        row("parp", 0.5, mask_from="german", run="c"),
        row("parp", 0.5, data="dutch", run="d", protocol="paper", config="xlsr"),
        row("mpi", 0.5),
    ]
    head, *lines = cells(table(systems_of(varied)))
    assert head[:9] == ["data", "config", "protocol", "split", "method", "mask from", "interval", "lr", "sparsity"]
    assert [line[6] for line in lines] == ["50", "50", "never", "50", "-", "50"]
    assert len({len(line) for line in table(systems_of(varied))}) == 1, "columns stand below each other"


def test_variants_stand_beside_plain_runs_and_are_compared_with_them(tmp_path: Path) -> None:
    small = {"trained": 20, "parameters": 1000}
    wanted = [
        row("dense", 0, trained=900, parameters=1000),
        row("dense", 0, variant="lora", run="lora", **small),
        row("parp", 0.5, trained=900, parameters=1000),
        row("parp", 0.5, variant="erk", run="erk", trained=900, parameters=1000),
        row("parp", 0.5, variant="lora", run="both", **small),
        row("omp", 0.5, variant="erk", run="omp-erk", trained=900, parameters=1000),
    ]
    head, *lines = cells(table(systems_of(wanted)))
    assert head[:4] == ["split", "method", "variant", "trained"]
    assert [(line[1], line[2], line[3]) for line in lines[:2]] == [
        ("dense", "-", "900 (90.00 %)"), ("dense", "lora", "20 (2.00 %)"),
    ]  # fmt: skip
    told = [
        line.split(" on test")[0] for line in bullets(summary([decode(tmp_path, r, SOME) for r in wanted], tmp_path))
    ]
    assert told == [
        "dense, lora against dense",
        "parp 0.5 against dense",
        "parp 0.5, erk against dense",
        "parp 0.5, lora against dense, lora",
        "omp 0.5, erk against dense",
        "parp 0.5, erk against omp 0.5, erk",
    ]


def test_partners_are_alike(tmp_path: Path) -> None:
    wanted = [
        row("dense", 0),
        row("dense", 0, lr=0.01, run="dense-fast"),
        row("parp", 0.5),
        row("parp", 0.5, lr=0.01, run="parp-fast"),
        row("parp", 0.5, mask_from="german", run="adjusted"),
        row("fixed", 0.5, mask_from="german", run="held"),
        row("omp", 0.5),
        row("omp", 0.7),
        row("parp", 0.5, data="dutch", run="dutch"),
        row("parp", 0.5, split="other", run="elsewhere"),
        row("parp", 0.5, protocol="paper", run="as-scripted"),
        row("rp", 0.5, seed=2),
    ]
    told = [
        line.split(" on test")[0] for line in bullets(summary([decode(tmp_path, r, SOME) for r in wanted], tmp_path))
    ]
    assert told == [
        "parp 0.5, lr 0.001 against dense, lr 0.001",
        "parp 0.5, lr 0.01 against dense, lr 0.01",
        "parp 0.5, mask from german, lr 0.001 against dense, lr 0.001",
        "omp 0.5 against dense, lr 0.001",
        "omp 0.7 against dense, lr 0.001",
        "rp 0.5 against dense, lr 0.001",
        "fixed 0.5, mask from german against dense, lr 0.001",
        "parp 0.5, lr 0.001 against omp 0.5",
        "parp 0.5, lr 0.001 against rp 0.5",
        "parp 0.5, lr 0.01 against omp 0.5, lr 0.001",
        "parp 0.5, lr 0.01 against rp 0.5, lr 0.001",
        "parp 0.5, mask from german, lr 0.001 against fixed 0.5, mask from german",
    ]


def test_runs_of_two_lengths_are_two_systems_each_held_against_its_own_length(tmp_path: Path) -> None:
    wanted = [
        replace(row(method, sparsity, run=f"{method}-{updates}"), updates=updates)
        for method, sparsity in (("dense", 0), ("parp", 0.5), ("mpi", 0.5))
        for updates in (300, 600)
    ]
    text = summary([decode(tmp_path, each, SOME) for each in wanted], tmp_path)
    assert [line.split(" on test")[0] for line in bullets(text)] == [
        "parp 0.5, 300 updates against dense, 300 updates",
        "parp 0.5, 600 updates against dense, 600 updates",
        "mpi 0.5, 300 updates against dense, 300 updates",
        "mpi 0.5, 600 updates against dense, 600 updates",
        "parp 0.5, 300 updates against mpi 0.5, 300 updates",
        "parp 0.5, 600 updates against mpi 0.5, 600 updates",
    ]


def test_lengths_are_named_where_they_differ(tmp_path: Path) -> None:
    wanted = [row("dense", 0), replace(row("parp", 0.5), updates=600)]
    (told,) = bullets(summary([decode(tmp_path, each, SOME) for each in wanted], tmp_path))
    assert told.startswith(f"parp 0.5, 600 updates against dense, {UPDATES} updates on test")


def test_of_a_sweep_the_main_setting_is_held_against_the_others(tmp_path: Path) -> None:
    wanted = [
        row("dense", 0), row("mpi", 0.5), row("parp", 0.5), row("parp", 0.7), row("parp", 0.5, interval=5, run="often"),
        row("parp", 0.5, interval=None, run="never"),
    ]  # fmt: skip
    text = summary([decode(tmp_path, each, SOME) for each in wanted], tmp_path)
    told = [line.split(" on test")[0] for line in bullets(text)]
    assert told == [
        "parp 0.5, interval 5 against dense",
        "parp 0.5, interval 50 against dense",
        "parp 0.7, interval 50 against dense",
        "parp 0.5, never re-pruned against dense",
        "mpi 0.5 against dense",
        "parp 0.5, interval 50 against mpi 0.5",
    ]


def test_what_was_decoded_may_be_elsewhere(rows: list[ResultRow], tmp_path: Path) -> None:
    (tmp_path / rows[1].decoded).unlink()
    text = summary(rows, tmp_path)
    assert len(bullets(text)) == 4
    assert text.endswith("Not compared, because their decoded text is missing: parp-0.1-s1.\n")
    assert bullets(summary(rows, tmp_path / "nowhere")) == []


def test_what_was_decoded_must_be_what_the_results_say(rows: list[ResultRow], tmp_path: Path) -> None:
    decode(tmp_path, rows[1], MORE)
    with pytest.raises(
        ExperimentFileError,
        match=r"its UER is .* .*has changed since the results",
    ):
        summary(rows, tmp_path)
    (tmp_path / rows[1].decoded).write_text("nothing")
    with pytest.raises(ResultsError, match="has no references"):
        summary(rows, tmp_path)


def test_runs_that_said_nothing_at_all_are_compared(rows: list[ResultRow], tmp_path: Path) -> None:
    silent = decode(tmp_path, row("rp", 0.9), SOME)
    lines = (tmp_path / silent.decoded).read_text().splitlines()
    empty = [line for line in lines if line.startswith("T-")]
    empty += [f"{kind}-{number}\t{rest}" for number in range(len(empty)) for kind, rest in (("D", "-1\t"), ("P", ""))]
    (tmp_path / silent.decoded).write_text("\n".join(empty) + "\n")
    told = bullets(summary([*rows, replace(silent, uer=100.0, wer=100.0)], tmp_path))
    assert any(line.startswith("rp 0.9 against dense") and "UER +" in line for line in told)


def test_runs_that_nothing_tells_apart_are_refused() -> None:
    with pytest.raises(ComparisonError, match=r"runs again and parp-0\.5-s1 have the same setting, seed and split"):
        systems_of([row("parp", 0.5), row("parp", 0.5, run="again")])


def test_a_joint_run_is_held_against_the_single_one_on_the_same_split(tmp_path: Path) -> None:
    joint = decode(tmp_path, row("parp", 0.5, run="joint", data="joint", split="dutch/test"), FEWER)
    single = decode(tmp_path, row("parp", 0.5, run="single", data="dutch", split="dutch/test"), SOME)
    other = decode(tmp_path, row("parp", 0.5, run="other", data="german", split="german/test"), SOME)
    told = bullets(summary([joint, single, other], tmp_path))
    assert [line.split(":")[0] for line in told] == ["trained on dutch against trained on joint"]
    assert "UER +" in told[0]


def test_seeds_are_pairs_on_one_training_set_and_not_on_two(tmp_path: Path) -> None:
    names = [(data, *system) for data in ("nl", "joint") for system in (("dense", 0.0), ("parp", 0.5))]
    made = [
        row(method, sparsity, run=f"{data}-{method}-{seed}", data=data, split="nl/test", seed=seed)
        for data, method, sparsity in names
        for seed in (1, 2, 3)
    ]
    text = summary([decode(tmp_path, each, (SOME, MORE, FEWER)[each.seed - 1]) for each in made], tmp_path)
    across = "trained on joint against trained on nl"
    assert [line.split(": UER")[0] for line in bullets(text)] == [
        "parp 0.5 against dense on nl/test, 3 paired seeds",
        "parp 0.5 against dense on nl/test, 3 paired seeds",
        f"{across}: dense against dense on nl/test, 3 and 3 seeds",
        f"{across}: parp 0.5 against parp 0.5 on nl/test, 3 and 3 seeds",
    ]
