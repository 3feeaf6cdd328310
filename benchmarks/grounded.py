"""Row: an update of grounded training, beside the updates of its parts: stock pretraining, and both heads alone.

Model, criterion and optimizer are those of ``configs/grounded_base.yaml``; audio and features are noise.
"""

from __future__ import annotations

import copy
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf

from benchmarks.rows import Bar, Job, Row, compare, in_turn
from benchmarks.trainings import train_on, trainer_of
from benchmarks.weights import BASE, Size
from fairseq_parp.environment.paths import configs
from fairseq_parp.grounded.features import FILE, write_features
from fairseq_parp.grounded.losses import masked_margin_softmax

CAPTIONS, SECONDS = 4, 5
"""Captions in a batch, and seconds of each."""

REGIONS, FEATURES = 36, 2048

PEER = "stock fairseq's pretraining update, then one of the audio head and the image branch alone"

_BAR = Bar(1.05)
_ROW = "grounded training, an update"


def jobs(size: Size | None = None) -> Iterator[Job]:
    """Yield the job; ``size`` replaces the model's in tests, which also takes a second of audio instead of five."""
    yield Job([_ROW], functools.partial(_update, size or BASE, 1 if size else SECONDS))


def _update(size: Size, seconds: int) -> Iterator[Row]:
    sample = _sample(seconds)
    with tempfile.TemporaryDirectory() as folder:
        inputs = sample["net_input"]
        ids = [str(number) for number in range(CAPTIONS)]
        write_features(Path(folder, FILE), ids, inputs["images"], "noise", inputs["boxes"])
        ours, stock = (trainer_of(_config(Path(folder), size, grounded)) for grounded in (True, False))
    heads = _Heads(ours, sample)
    speech = {"id": sample["id"], "net_input": {key: inputs[key] for key in ("source", "padding_mask")}}

    def parts() -> None:
        train_on(stock, speech)
        heads.update()

    parts()
    times = in_turn(lambda: None, lambda: train_on(ours, sample), parts, [_BAR])
    yield compare(_ROW, _BAR, PEER, *times)


def _sample(seconds: int) -> dict[str, Any]:
    """Return a batch as the task's dataset collates it; every caption has a picture of its own."""
    generator = torch.Generator().manual_seed(1)
    audio = torch.randn(CAPTIONS, 16_000 * seconds, generator=generator)
    return {
        "id": torch.arange(CAPTIONS),
        "image_ids": torch.arange(CAPTIONS),
        "net_input": {
            "source": audio,
            "padding_mask": torch.zeros_like(audio, dtype=torch.bool),
            "images": torch.randn(CAPTIONS, REGIONS, FEATURES, generator=generator),
            "boxes": torch.rand(CAPTIONS, REGIONS, 4, generator=generator),
        },
    }


def _config(folder: Path, size: Size, grounded: bool) -> DictConfig:
    """Return the config of the grounded training, or of fairseq's own on the same audio by the same loss."""
    from fairseq.dataclass.configs import FairseqConfig

    recipe = cast(DictConfig, OmegaConf.load(configs() / "grounded_base.yaml"))
    del recipe["hydra"]
    heads = max(1, size.width // 64)
    model = {
        "encoder_layers": size.layers, "encoder_embed_dim": size.width, "encoder_ffn_embed_dim": 4 * size.width,
        "encoder_attention_heads": heads, "final_dim": min(256, size.width),
    }  # fmt: skip
    branches = {"shared_layers": max(1, 2 * size.layers // 3), "embedding": size.width, "grounded_heads": heads}
    if not grounded:
        penalty = recipe.criterion.feature_penalty
        recipe.criterion = {"_name": "wav2vec", "infonce": True, "loss_weights": [0.1, penalty]}
        recipe.task._name, recipe.model._name = "audio_pretraining", "wav2vec2"
        del recipe.task["pruning"]
    both = {
        "common": {"cpu": True, "user_dir": None},
        "checkpoint": {"save_dir": str(folder)},
        "task": {"data": str(folder)},
        "dataset": {"batch_size": CAPTIONS, "num_workers": 0},
        "model": model | (branches if grounded else {}),
    }
    return cast(DictConfig, OmegaConf.merge(OmegaConf.structured(FairseqConfig), recipe, both))


class _Heads:
    """Copies of a grounded model's audio head and image branch, and an optimizer of their own."""

    def __init__(self, trainer: Any, sample: dict[str, Any]) -> None:
        from fairseq.optim import build_optimizer

        model, inputs = trainer.model, sample["net_input"]
        parts = copy.deepcopy(model.grounded)
        self._audio, self._image, self._ids = parts["audio"], parts["image"], sample["image_ids"]
        self._shown = inputs["images"], inputs["boxes"]
        self._weights, self._clip = list(parts.parameters()), trainer.cfg.optimization.clip_norm
        self._optimizer = build_optimizer(trainer.cfg.optimizer, self._weights)
        frames = int(model._get_feat_extract_output_lengths(torch.tensor(inputs["source"].shape[1])))
        width = model.cfg.encoder_embed_dim
        self._frames = torch.randn(CAPTIONS, frames, width, requires_grad=True)
        self._cls = torch.randn(CAPTIONS, width, requires_grad=True)

    def update(self) -> None:
        """Train on random frames; the gradient reaches them, as it would reach the encoder."""
        from fairseq.utils import clip_grad_norm_

        self._frames.grad = self._cls.grad = None
        self._optimizer.zero_grad()
        scores = self._image(*self._shown) @ self._audio(self._frames, None, self._cls).t()
        masked_margin_softmax(scores, self._ids).loss.backward()
        clip_grad_norm_(self._weights, self._clip)
        self._optimizer.step()
