"""Tones of three pitches with labels, and the recipe of a tiny classifier of them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import tiny

PITCHES = {"high": 3000.0, "low": 200.0, "middle": 900.0}
"""Hz by label."""


def make_table(folder: Path, sizes: dict[str, int]) -> Path:
    """Write tones of differing lengths in noise, and a table with their labels; return the table."""
    chance, noise = random.Random(4), np.random.default_rng(4)
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["path\tpitch\tsplit"]
    for split, size in sizes.items():
        for number in range(size):
            label = sorted(PITCHES)[number % 3]
            time = np.arange(int(16000 * chance.uniform(0.4, 1.2))) / 16000
            tone = 0.1 * np.sin(2 * np.pi * PITCHES[label] * chance.uniform(0.9, 1.1) * time)
            name = f"{split}-{number}.flac"
            soundfile.write(folder / name, tone + 0.01 * noise.standard_normal(len(time)), 16000)
            rows.append(f"{name}\t{label}\t{split}")
    table = folder / "tones.tsv"
    table.write_text("\n".join(rows) + "\n")
    return table


def make_data(folder: Path, sizes: dict[str, int]) -> Path:
    """Write tones and the data folder that ``fairseq-parp manifest table --label`` makes of their table."""
    from fairseq_parp.manifests.table import write_table

    write_table(make_table(folder / "tones", sizes), folder / "data", label="pitch")
    return folder / "data"


def recipe(data: Path, pretrained: Path, updates: int) -> dict[str, Any]:
    """Return the config by groups."""
    return {
        "common": {"cpu": True, "seed": 7, "log_format": "none", "user_dir": str(tiny.PLUGIN)},
        "checkpoint": {
            "save_interval_updates": 3, "no_epoch_checkpoints": True, "best_checkpoint_metric": "accuracy",
            "maximize_best_checkpoint_metric": True,
        },
        "distributed_training": {"ddp_backend": "legacy_ddp"},
        "optimization": {"max_update": updates, "lr": [0.005], "sentence_avg": True},
        "optimizer": {"_name": "adam", "adam_betas": "(0.9, 0.98)"},
        "lr_scheduler": {"_name": "fixed"},
        "task": {
            "_name": "parp_audio_classification", "data": str(data), "labels": "label", "normalize": False,
        },
        "dataset": {"num_workers": 0, "max_tokens": 80000, "validate_interval_updates": 3},
        "criterion": {"_name": "cross_entropy"},
        "model": {
            "_name": "parp_wav2vec_classification", "w2v_path": str(pretrained), "apply_mask": True, "mask_prob": 0.3,
            "mask_length": 3, "layerdrop": 0.2, "dropout": 0.1, "freeze_finetune_updates": 0,
        },
    }  # fmt: skip
