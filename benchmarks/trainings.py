"""Two trainings of the same model in one process, stock and pruned, to take their updates in turn.

Both are built like fairseq-hydra-train's from ``configs/base_10m.yaml``, with fairseq's task, model, criterion,
optimizer and trainer; only the names of task and model differ. Layerdrop is off, so that every update does the same
work. The weights are random, the audio is noise.
"""

from __future__ import annotations

import contextlib
import io
import string
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import soundfile
import torch
from omegaconf import DictConfig, OmegaConf

from benchmarks.cost import Cost, measured
from benchmarks.weights import Size
from fairseq_parp.adapters import Trained
from fairseq_parp.environment.paths import configs
from fairseq_parp.plugin import load_plugin
from fairseq_parp.sparsity import PruningSession

SECONDS, UTTERANCES = 10, 2


def write_inputs(folder: Path, size: Size) -> None:
    """Write the inputs of both trainings: a dictionary, and a wav2vec 2.0 with random weights."""
    (folder / "dict.ltr.txt").write_text("".join(f"{symbol} 1\n" for symbol in "|" + string.ascii_uppercase))
    model = random_model(size)
    plain = OmegaConf.to_container(model.cfg, resolve=False, enum_to_str=True)
    config = {**(plain if isinstance(plain, dict) else {}), "_name": "wav2vec2"}
    task = {"_name": "audio_pretraining", "data": str(folder), "normalize": False, "labels": None}
    cfg = {"model": config, "task": task, "criterion": None, "lr_scheduler": None}
    state = {"args": None, "cfg": cfg, "model": model.state_dict()}
    torch.save({**state, "extra_state": {}, "optimizer_history": [_HISTORY]}, folder / "pretrained.pt")


def write_audio(folder: Path, split: str, seconds: Sequence[float]) -> None:
    """Write a split of noise: utterances of the given seconds, with their manifest and letters."""
    generator = np.random.default_rng(1)
    lines = [str(folder)]
    for number, length in enumerate(seconds):
        wave = 0.1 * generator.standard_normal(int(16_000 * length)).astype(np.float32)
        soundfile.write(folder / f"{split}{number}.flac", wave, 16_000)
        lines.append(f"{split}{number}.flac\t{len(wave)}")
    (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    (folder / f"{split}.ltr").write_text("H E A R | T H E | N O I S E |\n" * len(seconds))


def random_model(size: Size) -> Any:
    """Return a wav2vec 2.0 with random weights."""
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model

    cfg = OmegaConf.structured(Wav2Vec2Config)
    cfg.encoder_layers, cfg.encoder_embed_dim, cfg.encoder_ffn_embed_dim = size.layers, size.width, 4 * size.width
    cfg.encoder_attention_heads = max(1, size.width // 64)
    cfg.quantize_targets, cfg.final_dim = True, min(256, size.width)
    return Wav2Vec2Model(cfg)


_HISTORY = {
    "criterion_name": "Wav2vecCriterion",
    "optimizer_name": "FairseqAdam",
    "lr_scheduler_state": {"best": None},
    "num_updates": 1,
}
"""What fairseq takes for granted in a checkpoint."""


def trainer_of(cfg: DictConfig) -> Any:
    """Return fairseq's trainer of a config, with task, model, criterion and optimizer."""
    from fairseq import tasks
    from fairseq.dataclass.initialize import add_defaults
    from fairseq.trainer import Trainer

    load_plugin()
    add_defaults(cfg)
    task = tasks.setup_task(cfg.task)
    with contextlib.redirect_stdout(io.StringIO()):  # fairseq prints the model
        model = task.build_model(cfg.model)
    return Trainer(cfg, task, model, task.build_criterion(cfg.criterion))


def train_on(trainer: Any, *samples: Any) -> None:
    """Make one update on batches."""
    from fairseq.logging import metrics

    metrics.reset()  # another trainer of this process may have meters of the same names and other kinds
    with metrics.aggregate(new_root=True):
        trainer.train_step(list(samples))


class Training:
    """One training, update by update.

    Args:
        folder: output folder of :func:`write_inputs`.
        interval: updates between two re-prunes; None is stock fairseq, without the plugin's task and model.
        seconds: length of each utterance.
        adapters: keys of ``task.adapters`` of a dense training with the plugin; ``interval`` then has no meaning.
    """

    def __init__(
        self, folder: Path, interval: int | None, seconds: int = SECONDS, adapters: Mapping[str, Any] | None = None
    ) -> None:
        self._trainer = trainer_of(_config(folder, interval, adapters))
        self._sample = _sample(len(self._trainer.task.target_dictionary), seconds)

    def update(self, samples: Sequence[Any] = ()) -> None:
        """Train on one batch of noise, or on ``samples``."""
        train_on(self._trainer, *(samples or [self._sample]))

    def epoch(self) -> Iterator[tuple[Cost, Cost]]:
        """Train on the split ``train`` of the folder; yield the costs of getting each batch and of the work on it."""
        from fairseq.data.iterators import GroupedIterator

        batches = self._trainer.get_train_iterator(1).next_epoch_itr(shuffle=False)
        self._trainer.begin_epoch(1)
        left = iter(GroupedIterator(batches, 1))
        samples: list[Any] = []
        while True:
            waited = measured(lambda: samples.extend(next(left, ())))
            if not samples:
                return
            yield waited, measured(lambda: self.update(samples))
            samples.clear()

    def save(self, file: Path) -> None:
        """Save a checkpoint as fairseq does; stock fairseq does not wait for the disk."""
        from fairseq import checkpoint_utils

        state: dict[str, Any] = {"train_iterator": {"epoch": 1}}
        mended = checkpoint_utils.torch_persistent_save
        if self.session is None:
            checkpoint_utils.torch_persistent_save = mended.mended_by_parp
        else:
            state |= self._trainer.task.get_checkpoint_dict()
        try:
            self._trainer.consolidate_optimizer()
            self._trainer.save_checkpoint(str(file), state)
        finally:
            checkpoint_utils.torch_persistent_save = mended

    def trained_bytes(self) -> int:
        """Return the size of the gradients and of the optimizer's state after an update."""
        gradients = [each.grad for each in self._trainer.model.parameters() if each.grad is not None]
        states = [value for state in self._trainer.optimizer.optimizer.state.values() for value in state.values()]
        return sum(each.nbytes for each in [*gradients, *states] if isinstance(each, torch.Tensor))

    def go_on(self) -> None:
        """Restore the values that saving stashed, as the next update would."""
        if self.session is not None:
            self.session.show_trained()

    @property
    def trained(self) -> Trained | None:
        """The counts of the trained parameters; None in stock fairseq."""
        return getattr(self._trainer.task, "trained", None)

    @property
    def session(self) -> PruningSession | None:
        """The pruning session; None in stock fairseq."""
        return getattr(self._trainer.task, "session", None)


def _config(folder: Path, interval: int | None, adapters: Mapping[str, Any] | None) -> DictConfig:
    from fairseq.dataclass.configs import FairseqConfig

    recipe = cast(DictConfig, OmegaConf.load(configs() / "base_10m.yaml"))
    del recipe["hydra"]
    stock = {"task": {"_name": "audio_finetuning"}, "model": {"_name": "wav2vec_ctc"}, "common": {"user_dir": None}}
    pruning = {"interval": interval} if adapters is None else {"method": "dense"}
    ours = {"task": {"pruning": pruning, "adapters": adapters}}
    plain = interval is None and adapters is None
    if plain:
        del recipe["task"]["pruning"]
    both = {
        "task": {"data": str(folder)},
        "model": {"w2v_path": str(folder / "pretrained.pt"), "layerdrop": 0.0, "mask_channel_prob": 0.0},
        "common": {"cpu": True, "seed": 1},
        "checkpoint": {"save_dir": str(folder)},
        "optimization": {"update_freq": [1]},
        "dataset": {"batch_size": UTTERANCES},
    }
    names = stock if plain else ours
    return cast(DictConfig, OmegaConf.merge(OmegaConf.structured(FairseqConfig), recipe, names, both))


def _sample(symbols: int, seconds: int) -> dict[str, Any]:
    """Return a batch as fairseq's datasets collate it: 2 utterances, 10 letters a second."""
    generator = torch.Generator().manual_seed(1)
    shape = (UTTERANCES, 16_000 * seconds)
    letters = 10 * seconds
    return {
        "id": torch.arange(UTTERANCES),
        "net_input": {
            "source": torch.randn(shape, generator=generator),
            "padding_mask": torch.zeros(shape, dtype=torch.bool),
        },
        "target": torch.randint(4, symbols, (UTTERANCES, letters), generator=generator),
        "target_lengths": torch.full((UTTERANCES,), letters),
        "ntokens": letters * UTTERANCES,
    }
