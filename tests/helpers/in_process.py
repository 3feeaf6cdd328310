"""Real fairseq trainings of a tiny model in this process: fairseq's own main, with one config a task."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tiny
import torch
from omegaconf import OmegaConf

from fairseq_parp import checkpoints
from fairseq_parp.plugin import load_plugin
from fairseq_parp.sparsity import MaskSet, read_config
from fairseq_parp.sparsity.counting import zero_count
from fairseq_parp.sparsity.methods import build_method
from fairseq_parp.sparsity.upgrade import find_state

UPDATES = 8


class Stopped(Exception):  # noqa: N818 (nothing failed)
    """Takes the place of a kill: the process goes on, the training does not."""


def train(recipe: dict[str, Any], save: Path, stop_after: int | None = None, **pruning: Any) -> None:
    """Train to the end, or until ``stop_after`` updates are made.

    Args:
        recipe: config by groups.
        save: ``checkpoint.save_dir``; a checkpoint of an earlier call is resumed.
        stop_after: update before whose saving the training is stopped.
        pruning: keys of ``task.pruning``.
    """
    from fairseq.dataclass.configs import FairseqConfig
    from fairseq.dataclass.initialize import add_defaults
    from fairseq.dataclass.utils import omegaconf_no_object_check
    from fairseq_cli import train as fairseq_train

    load_plugin()
    own = {"task": {"pruning": pruning}, "checkpoint": {"save_dir": str(save)}}
    cfg = OmegaConf.merge(OmegaConf.structured(FairseqConfig), OmegaConf.create(recipe), OmegaConf.create(own))
    add_defaults(cfg)
    with omegaconf_no_object_check():
        cfg = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True, enum_to_str=True))
    OmegaConf.set_struct(cfg, True)
    with _as_a_process(), contextlib.redirect_stdout(io.StringIO()):
        if stop_after is None:
            fairseq_train.main(cfg)
        else:
            with _stopping(stop_after), contextlib.suppress(Stopped):
                fairseq_train.main(cfg)


@contextlib.contextmanager
def _as_a_process() -> Iterator[None]:
    """Undo what a training leaves in a process: handlers of the log, and fairseq's best value."""
    from fairseq import checkpoint_utils
    from fairseq.logging import metrics

    root = logging.getLogger()
    handlers = list(root.handlers)
    metrics.reset()
    for name in ("best", "last_saved"):
        vars(checkpoint_utils.save_checkpoint).pop(name, None)
    try:
        yield
    finally:
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
            handler.close()


@contextlib.contextmanager
def _stopping(update: int) -> Iterator[None]:
    from fairseq.trainer import Trainer

    step = Trainer.train_step

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        done = step(self, *args, **kwargs)
        if self.get_num_updates() >= update:
            raise Stopped
        return done

    Trainer.train_step = counted
    try:
        yield
    finally:
        Trainer.train_step = step


def speech(data: Path, pretrained: Path) -> dict[str, Any]:
    """The recipe of a tiny CTC finetuning."""
    return common() | {
        "task": {"_name": "parp_finetuning", "data": str(data), "labels": "ltr", "normalize": False},
        "dataset": {"num_workers": 0, "max_tokens": 64000},
        "criterion": {"_name": "ctc", "zero_infinity": True},
        "model": {
            "_name": "parp_wav2vec_ctc", "w2v_path": str(pretrained), "apply_mask": True, "mask_prob": 0.5,
            "mask_length": 3, "layerdrop": 0.2, "dropout": 0.1, "freeze_finetune_updates": 0,
        },
    }  # fmt: skip


def common() -> dict[str, Any]:
    """The groups of a config that every tiny training has."""
    return {
        "common": {"cpu": True, "seed": 7, "log_format": "none", "user_dir": str(tiny.PLUGIN)},
        "checkpoint": {"save_interval_updates": 3, "no_epoch_checkpoints": True},
        "distributed_training": {"ddp_backend": "legacy_ddp"},
        "optimization": {"max_update": UPDATES, "lr": [0.01], "sentence_avg": True},
        "optimizer": {"_name": "adam", "adam_betas": "(0.9, 0.98)"},
        "lr_scheduler": {"_name": "fixed"},
    }


def state_of(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any], Any]:
    """Return a checkpoint's model, what the task saved, and the optimizer's state."""
    state = checkpoints.read(file)
    entry = find_state(state["extra_state"])
    assert entry is not None
    return state["model"], entry, state["last_optimizer_state"]


def require_exact_zeros(folder: Path, keys: dict[str, Any]) -> None:
    """Check that every file of a training has exactly the zeros of its target.

    Args:
        folder: ``checkpoint.save_dir`` of a training that reached its end.
        keys: its ``task.pruning``.
    """
    built = build_method(read_config(keys), UPDATES)
    files = list(folder.glob("*.pt"))
    assert {file.name for file in files} >= {"checkpoint_last.pt", "checkpoint_best.pt"}
    for file in files:
        model, entry, _ = state_of(file)
        masked = {name: model[name] for name in entry["pruning"]["mask"]}
        mask = MaskSet(dict(entry["pruning"]["mask"]), {name: tuple(each.shape) for name, each in masked.items()})
        k = zero_count(built.target(entry["pruning"]["pruned_at"]), mask.size())
        zeros = sum(int((each == 0).sum()) for each in masked.values())
        if built.facts.grows:  # weights that the mask keeps may not have moved from zero yet
            assert mask.zeros() == k, file.name
            assert not any(each[~mask.kept(name)].any() for name, each in masked.items()), file.name
        elif k:  # a dense model has the zeros that it has
            assert zeros == k, file.name
