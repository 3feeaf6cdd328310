"""Rows and files of experiments that nobody ran: real files, made-up numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fairseq_parp.experiments.results import ResultRow
from fairseq_parp.scoring import score_file
from fairseq_parp.sparsity import MaskSet
from fairseq_parp.sparsity.magnitude import magnitude_mask

LAYER = {"self_attn.q_proj": (16, 16), "self_attn.out_proj": (16, 16), "fc1": (32, 16), "fc2": (16, 32)}
UPDATES = 300


def row(method: str, sparsity: float, **others: Any) -> ResultRow:
    """Return a row; its run is named after method, sparsity and seed, unless it is given."""
    seed, interval = others.get("seed", 1), others.pop("interval", 50 if method.startswith("parp") else None)
    run = others.pop("run", f"{method}-{sparsity:g}-s{seed}")
    chance = (1 - sparsity) / (1 + sparsity)
    made = ResultRow(
        run=run, method=method, data="an4_10m", config="small_10m", protocol="matched", sparsity=sparsity,
        measured=sparsity, interval=interval, lr=0.001, seed=1, mask_from="", split="test", uer=60.0, wer=95.0,
        iou_mpi=0.9 if sparsity else None, chance=chance if sparsity else None, pretrained_mask="",
        finetunings=1, updates=UPDATES, seconds=61.5, peak_megabytes=812.0, checkpoint=f"{run}/checkpoint_last.pt",
        decoded=f"{run}/generate-test.txt",
        command=f"fairseq-hydra-train task.pruning.method={method}", versions="fairseq 0.12.3.1",
    )  # fmt: skip
    return replace(made, **{"pretrained_mask": f"mpi-{sparsity:g}.safetensors" if sparsity else "", **others})


REFERENCES = (
    "FIVE SIX TWO",
    "RUBOUT G M E F",
    "YES",
    "NINETEEN",
    "P I T T",
    "ENTER FOUR",
    "STOP",
    "HELP ME",
    "NO",
    "GO",
)


def decode(folder: Path, wanted: ResultRow, wrong: Sequence[int], references: Sequence[str] = REFERENCES) -> ResultRow:
    """Write what the row's run decoded, so many letters of each reference wrong; return the row with its rates."""
    lines = []
    for number, text in enumerate(references):
        hypothesis = "#" * min(wrong[number], len(text)) + text[wrong[number] :]
        score = "\t".join((f"D-{number}", "-1.0", hypothesis))
        lines += [f"T-{number}\t{text}", score, f"P-{number}\t" + " ".join(["-0.1"] * (len(hypothesis) + 1))]
    path = folder / wanted.decoded
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    score = score_file(path, "letters")
    assert score.words
    return replace(wanted, uer=score.units.percent, wer=score.words.percent)


def weights(seed: int, layers: int = 3) -> dict[str, torch.Tensor]:
    """Return random weights of a tiny finetuned model; later layers are larger, so that they keep more."""
    chance = torch.Generator().manual_seed(seed)
    return {
        f"w2v_encoder.w2v_model.encoder.layers.{layer}.{name}.weight": (0.02 + 0.01 * layer)
        * torch.randn(shape, generator=chance)
        for layer in range(layers)
        for name, shape in LAYER.items()
    }


def save(folder: Path, made: ResultRow, move: float = 0.0) -> None:
    """Write the row's checkpoint, moved by ``move`` from the pretrained weights, its log and its MPI mask."""
    pretrained = weights(0)
    moved = {name: values + move * weights(made.seed)[name] for name, values in pretrained.items()}
    mask = magnitude_mask(moved, made.sparsity)
    mask.zero_(moved)
    path = folder / made.checkpoint
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": moved, "cfg": {"model": {}}, "args": None}, path)
    log(path.with_name("train.log"), made, mask)
    if made.pretrained_mask:
        magnitude_mask(pretrained, made.sparsity).save(folder / made.pretrained_mask)


def log(path: Path, made: ResultRow, mask: MaskSet) -> None:
    """Write a log whose churn falls, with a line every 10 updates, as fairseq-hydra-train writes it."""
    lines = []
    for update in range(10, made.updates + 1, 10):
        record = {"loss": "3.1", "num_updates": str(update)}
        if made.interval:
            last = update if update == made.updates else update // made.interval * made.interval
            record["churn"] = str(int(0.05 * mask.size() * made.interval / (last or 1)) if last else 0)
        lines.append(f"[2026-01-01 10:00:01,000][train_inner][INFO] - {json.dumps(record)}")
    path.write_text("\n".join(lines) + "\n")
