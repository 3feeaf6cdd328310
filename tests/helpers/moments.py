"""Makes a training say which of its moments it is in, and wait inside one of them to be killed.

Test code, in the process under test: the environment's ``MOMENT`` switches it on. ``MOMENT="re-prune 2"`` waits inside
the second re-prune; ``MOMENT=tell`` waits nowhere. Each moment is a line ``inside: NAME`` on standard output, and
after every update a line ``digest`` tells all weights and the mask.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import io
import os
import signal
from typing import Any

import torch
from fairseq import optim, trainer, utils

MOMENTS = ("step", "re-prune", "validation", "checkpoint write", "resume")
WAITING = "waiting to be killed inside"


class _Place:
    def __init__(self, wanted: str) -> None:
        self.name, _, number = wanted.rpartition(" ")
        self.left = int(number) if self.name else -1

    def reach(self, name: str, detail: str = "") -> None:
        """Say that the training is inside a moment; never return from the chosen one."""
        print(f"inside: {name}{detail}", flush=True)
        self.left -= name == self.name
        if self.left == 0:
            print(f"{WAITING}: {name}{detail}", flush=True)
            signal.pause()


def install(wanted: str) -> None:
    """Wrap what the moments are made of; the plugin's part as soon as fairseq imports it."""
    place = _Place(wanted)
    # A step: gradients are there, the weights have not moved.
    _before(trainer.Trainer, "clip_grad_norm", lambda: place.reach("step"))
    _before(trainer.Trainer, "valid_step", lambda: place.reach("validation"))
    # A resume: the weights are loaded, the optimizer is not.
    _before(optim.FairseqOptimizer, "load_state_dict", lambda: place.reach("resume"))
    torch.save = functools.partial(_write_in_two, place, torch.save)
    import_user_module = utils.import_user_module

    def import_and_wrap(args: Any) -> None:
        import_user_module(args)
        _wrap_pruner(place)
        _tell_digests(place)
        if "AMP_ON_CPU" in os.environ:
            _amp_on_cpu()

    utils.import_user_module = import_and_wrap


def _before(owner: Any, name: str, action: Any) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        action()
        return original(*args, **kwargs)

    setattr(owner, name, wrapped)


def _write_in_two(place: _Place, save: Any, state: Any, file: Any) -> None:
    """Write half of a checkpoint, be inside, write the other half."""
    whole = io.BytesIO()
    save(state, whole)
    content = whole.getbuffer()
    file.write(content[: len(content) // 2])
    file.flush()
    place.reach("checkpoint write")
    file.write(content[len(content) // 2 :])


def _wrap_pruner(place: _Place) -> None:
    """Be inside a re-prune once a third of the tensors, each one piece, are zeroed. The first mask is none."""
    from fairseq_parp.sparsity import PruningSession, kernels

    prune, choose = PruningSession.prune, kernels.choose

    @functools.wraps(prune)
    def pruned(self: Any, update: int) -> Any:
        zeroed = 0

        def chosen(tensors: Any) -> Any:
            kernel = copy.copy(choose(tensors))
            sweep = kernel.apply_threshold

            def swept(targets: Any, key: int) -> Any:
                nonlocal zeroed
                left = len(self.parameters) // 3 - zeroed
                zeroed += len(targets)
                if not update or not 0 < left <= len(targets):
                    return sweep(targets, key)
                first = sweep(targets[:left], key)
                place.reach("re-prune", f" {update}")
                rest = sweep(targets[left:], key)
                return tuple(one + other for one, other in zip(first, rest, strict=True))

            kernel.apply_threshold = swept  # type: ignore[method-assign]
            return kernel

        kernels.choose = chosen
        try:
            return prune(self, update)
        finally:
            kernels.choose = choose

    PruningSession.prune = pruned  # type: ignore[method-assign]


def _amp_on_cpu() -> None:
    """Let common.amp run on a CPU, with torch's gradient scaler for CPUs, from a scale at which fp32 overflows."""
    from fairseq_parp.training import life_cycle

    torch.cuda.amp.GradScaler = lambda **_options: torch.amp.GradScaler("cpu", init_scale=2.0**127)
    life_cycle.require_supported = lambda _cfg: None


def _tell_digests(place: _Place) -> None:
    """After every update, after its re-prune if it has one, print digests of all parameters and of the mask.

    ``MOMENT="drift 3"`` changes rank 1's weights before its third update; ``MOMENT="not a number 3"`` its audio.
    """
    from fairseq_parp.tasks.parp_finetuning import ParpFinetuningTask
    from fairseq_parp.training.ranks import rank

    optimizer_step, train_step = ParpFinetuningTask.optimizer_step, ParpFinetuningTask.train_step

    def stepped(self: Any, optimizer: Any, model: Any, update_num: int) -> None:
        if place.name == "drift" and rank() == 1 and update_num + 1 == place.left:
            next(iter(self.session.parameters.values())).weight.data.normal_()
        optimizer_step(self, optimizer, model, update_num)
        weights = _digest(model.parameters())
        print(f"digest: {update_num + 1} weights {weights} mask {_digest(self.session.mask.bits.values())}", flush=True)

    def trained(self: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        update = (kwargs["update_num"] if "update_num" in kwargs else args[3]) + 1
        if place.name == "not a number" and rank() == 1 and update == place.left:
            sample["net_input"]["source"].fill_(float("nan"))
        return train_step(self, sample, *args, **kwargs)

    ParpFinetuningTask.optimizer_step = stepped  # type: ignore[method-assign]
    ParpFinetuningTask.train_step = trained  # type: ignore[method-assign]


def _digest(tensors: Any) -> str:
    seen = hashlib.sha256()
    for tensor in tensors:
        seen.update(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return seen.hexdigest()[:16]
