"""A tiny grounded corpus: tones, each of which belongs to one of a few pictures, and the recipe of a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tiny
import torch

from fairseq_parp.grounded.features import write_features

PICTURES, REGIONS, WIDTH = 7, 3, 6


def corpus(folder: Path, sizes: dict[str, int] | None = None) -> Path:
    """Write audio, ``.img`` files and features with boxes; return the data folder."""
    data = tiny.make_corpus(folder, sizes or {"train": 14, "valid": 9})
    for labels in data.glob("*.ltr"):
        rows = len(labels.read_text().splitlines())
        labels.with_suffix(".img").write_text("".join(f"picture{row % PICTURES}\n" for row in range(rows)))
    torch.manual_seed(4)
    ids = [f"picture{number}" for number in range(PICTURES)]
    write_features(
        data / "images.safetensors",
        ids,
        torch.randn(PICTURES, REGIONS, WIDTH),
        "made up",
        torch.rand(PICTURES, REGIONS, 2, 2).sort(2).values.flatten(2),  # left and top first
    )
    return data


MODEL: dict[str, Any] = tiny.MODEL | {
    "_name": "grounded_wav2vec2", "mask_length": 3, "num_negatives": 10, "encoder_layerdrop": 0.3, "shared_layers": 2,
    "audio_head": "small", "embedding": 16, "grounded_heads": 2, "image_layers": 1,
}  # fmt: skip


def recipe(folder: Path) -> str:
    """Write the corpus, and return the config of a joint training."""
    corpus(folder / "data")
    model = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in MODEL.items())
    return f"""
common: {{user_dir: "???", cpu: true, seed: 7, log_format: json, log_interval: 1}}
checkpoint: {{save_dir: "???", save_interval_updates: 3, no_epoch_checkpoints: true,
  best_checkpoint_metric: recall_10, maximize_best_checkpoint_metric: true}}
distributed_training: {{distributed_world_size: 1, ddp_backend: legacy_ddp}}
optimization: {{max_update: 8, lr: [0.01]}}
optimizer: {{_name: adam}}
lr_scheduler: {{_name: fixed}}
hydra: {{run: {{dir: .}}, output_subdir: null,
  job_logging: {{handlers: {{file: {{delay: true}}}}, root: {{handlers: [console]}}}}}}
task: {{_name: grounded_pretraining, data: {folder}/data, max_sample_size: 14000, normalize: true,
  pruning: {{method: parp, sparsity: 0.5, interval: 5}}}}
dataset: {{num_workers: 0, batch_size: 5, required_batch_size_multiple: 1}}
criterion: {{_name: grounded, alpha: 0.5}}
model:
{model}"""
