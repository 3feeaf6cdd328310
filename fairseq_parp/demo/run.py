"""The demo: the real commands, dense beside PARP, from speech to a table and a picture."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from fairseq_parp.commands.arguments import generate_command, train_command
from fairseq_parp.commands.running import Command, records, run_together
from fairseq_parp.demo import corpus
from fairseq_parp.demo.folder import prepare, short, typed
from fairseq_parp.demo.pack import PRETRAINED, pack
from fairseq_parp.demo.plot import Curve, draw
from fairseq_parp.environment.paths import PLUGIN, configs
from fairseq_parp.errors import absolute
from fairseq_parp.manifests.table import write_table
from fairseq_parp.mask_files.report import SparsityReport, report
from fairseq_parp.scoring import Score, score_file
from fairseq_parp.tables import table

CONFIGS = configs()
DEMONSTRATED = ("dense", "parp")
SEED = 1
PRETRAINING_UTTERANCES = 2560
"""Two hours of the training voices, for pretraining; the finetuning corpus is much smaller."""


@dataclass(frozen=True)
class Result:
    """The demo's results for one method."""

    method: str
    report: SparsityReport
    score: Score
    updates_per_second: float


def demo(out: Path, *, from_random: bool = False) -> list[Result]:
    """Finetune dense and with PARP, decode both, print the table, draw the picture.

    Args:
        out: output folder; the output of an earlier demo is replaced.
        from_random: start from random weights instead of the pretrained ones.

    Raises:
        ConfigError: ``out`` has files that no demo made.
        CommandError: a command failed.
    """
    prepare(out)
    _synthesise(out, corpus.UTTERANCES)
    run_together([_training(out, method, from_random) for method in DEMONSTRATED])
    run_together([_decoding(out, method) for method in DEMONSTRATED])
    results = [_result(out, method) for method in DEMONSTRATED]
    picture = out / "demo.png"
    draw({result.method: _curve(out, result) for result in results}, _config().task.pruning.sparsity, picture)
    print(
        f"\n{_table(results)}\n\n{_difference(*results)} Synthetic speech, small scale: no evidence about real speech."
    )
    print(f"picture: {absolute(picture)}")
    print("next: README.md, Use: from your own recordings to a word error rate")
    return results


def pretrain(out: Path) -> Path:
    """Make the checkpoint that the demo starts from; return its path."""
    prepare(out)
    _synthesise(out, {**corpus.UTTERANCES, "train": PRETRAINING_UTTERANCES})
    settings = [f"task.data={typed(out / 'data')}", f"checkpoint.save_dir={typed(out / 'pretraining')}"]
    run_together([_hydra_train("pretrain_small", "pretraining", out, settings)])
    packed = out / PRETRAINED.name
    pack(out / "pretraining" / "checkpoint_last.pt", packed)
    print(f"checkpoint: {absolute(packed)} ({packed.stat().st_size / 1e6:.1f} MB)")
    return packed


def _synthesise(out: Path, utterances: dict[str, int]) -> None:
    rows = corpus.plan(SEED, utterances)
    print(f"\nsynthesising {len(rows)} utterances into {absolute(out / 'speech')}", flush=True)
    corpus.write(out / "speech", rows, SEED)
    write_table(out / "speech" / "transcripts.tsv", out / "data")


def _training(out: Path, method: str, from_random: bool) -> Command:
    settings = [
        f"task.data={typed(out / 'data')}",
        f"model.w2v_path={typed(PRETRAINED)}",
        f"task.pruning.method={method}",
        f"checkpoint.save_dir={typed(out / method)}",
    ]
    return _hydra_train("demo", method, out, settings + ["+model.no_pretrained_weights=true"] * from_random)


def _hydra_train(config: str, title: str, out: Path, settings: Sequence[str]) -> Command:
    argv = train_command(short(CONFIGS / f"{config}.yaml"), settings, short(PLUGIN))
    return Command(title, argv, out / "logs" / f"train_{title}.log", _config(config).optimization.max_update)


def _decoding(out: Path, method: str) -> Command:
    results = out / "decoded" / method
    paths = (out / "data", _checkpoint(out, method), results)
    argv = generate_command(*map(short, paths), plugin=short(PLUGIN))
    return Command(f"decode {method}", argv, out / "logs" / f"decode_{method}.log")


def _result(out: Path, method: str) -> Result:
    speed = statistics.harmonic_mean(record["ups"] for record in records(_log(out, method), "train_inner"))
    score = score_file(out / "decoded" / method / "generate-test.txt", "letters")
    return Result(method, report(_checkpoint(out, method)), score, speed)


def _curve(out: Path, result: Result) -> Curve:
    valid = records(_log(out, result.method), "valid")
    updates = [int(record["valid_num_updates"]) for record in valid]
    layers = {name.rpartition(".")[2]: count.sparsity for name, count in result.report.zeros.layers.items()}
    return Curve(updates, [record["valid_uer"] for record in valid], layers)


def _table(results: Sequence[Result]) -> str:
    return "\n".join(table(("method", "sparsity", "UER, %", "WER, %", "updates/s"), map(_cells, results)))


def _cells(result: Result) -> tuple[str, ...]:
    words = result.score.words.percent if result.score.words else float("nan")
    numbers = result.score.units.percent, words, result.updates_per_second
    return (result.method, f"{result.report.prunable.sparsity:.4f}", *(f"{number:.2f}" for number in numbers))


def _difference(dense: Result, parp: Result) -> str:
    """Return the difference in the metric that is steadier on a few minutes of speech; one seed allows no verdict."""
    points = parp.score.units.percent - dense.score.units.percent
    return f"UER of PARP minus dense: {points:+.2f} points. One seed: no verdict."


def _checkpoint(out: Path, method: str) -> Path:
    return out / method / "checkpoint_best.pt"


def _log(out: Path, method: str) -> Path:
    return out / "logs" / f"train_{method}.log"


def _config(name: str = "demo") -> Any:
    return OmegaConf.load(CONFIGS / f"{name}.yaml")
