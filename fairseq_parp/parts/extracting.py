"""Makes a part from a finetuned checkpoint and its base."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import open_dict
from torch import Tensor

from fairseq_parp import checkpoints
from fairseq_parp.architectures import is_adapter
from fairseq_parp.errors import PartError, absolute
from fairseq_parp.export.to_compact import content_of
from fairseq_parp.mask_files.fresh import config_of, encoder_config
from fairseq_parp.parts.base import Base
from fairseq_parp.parts.part import Part, require_language
from fairseq_parp.plugin import load_plugin
from fairseq_parp.sparsity import MaskSet
from fairseq_parp.sparsity.kernels import INTEGERS
from fairseq_parp.sparsity.packing import pack


def extract(
    checkpoint: str | Path, out: str | Path, base: str | Path | None = None, language: str | None = None
) -> Part:
    """Write the changes of a finetuned checkpoint to its base as a part, and return the part.

    Args:
        checkpoint: of a training that did not change the base's matrices, or only zeroed some of their weights.
        out: file to write.
        base: the pretrained checkpoint; by default the one that ``model.w2v_path`` names.
        language: name of the part; by default that of ``out``, without its ending.

    Raises:
        CheckpointError: a checkpoint cannot be read.
        PartError: the training changed matrices of the base; there is no head; the base is missing or another one.
    """
    load_plugin()
    state = checkpoints.read(checkpoint)
    language = Path(out).name.partition(".")[0] if language is None else language
    try:
        require_language(language)
    except ValueError as error:
        raise PartError(out, f"{error}; name one with --language") from None
    part = part_of(checkpoint, state, Base.open(_base_of(checkpoint, state) if base is None else base), language)
    part.save(out)
    return part


def _base_of(checkpoint: str | Path, state: Mapping[str, Any]) -> str:
    path = config_of(state).model.get("w2v_path")
    if not path or not Path(path).is_file():
        lacks = f"its pretrained file {path} does not exist" if path else "it does not name its pretrained file"
        raise PartError(checkpoint, f"{lacks}; name it by --base FILE")
    return str(path)


def part_of(checkpoint: str | Path, state: Mapping[str, Any], base: Base, language: str) -> Part:
    """Return the changes of a finetuned checkpoint to its base as a part.

    Args:
        checkpoint: path of the checkpoint, for messages.
        state: content of the checkpoint.
        base: the checkpoint that it was finetuned from.
        language: name of the part.

    Raises:
        PartError: as :func:`extract`.
    """
    tensors = {name: value for name, value in state["model"].items() if isinstance(value, Tensor)}
    whole, bits = _differences(checkpoint, tensors, base)
    own = [name for name in whole if base.tensor(name) is None]
    if all(map(is_adapter, own)):
        raise PartError(checkpoint, "has no head: it is a pretrained model, or has no tensor that its base lacks")
    cfg = config_of(state)
    if "w2v_path" in cfg.model and cfg.model.get("w2v_args") is None:
        with open_dict(cfg):
            cfg.model.w2v_args = encoder_config(base.state)
    task = cfg.task
    content = {
        "base": base.sha256,
        "language": language,
        "method": _method(whole, own, bits),
        "labels": str(task.get("labels") or ""),
        "normalize": bool(task.get("normalize", False)),
        "sample_rate": int(task.get("sample_rate", 16000)),
        "shapes": {name: list(value.shape) for name, value in tensors.items()},
        **content_of(state, cfg, tensors),
    }
    return Part(content, whole, MaskSet(bits, {name: tuple(tensors[name].shape) for name in bits}))


def _differences(
    checkpoint: str | Path, tensors: Mapping[str, Tensor], base: Base
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors to store whole, and the masks' bits."""
    whole: dict[str, Tensor] = {}
    bits: dict[str, Tensor] = {}
    changed: list[str] = []
    for name, value in tensors.items():
        before = base.tensor(name)
        if before is None or not value.numel():  # such as the labels of a HuBERT's pretraining
            whole[name] = value
            continue
        _require_like(checkpoint, name, value, before, base.path)
        now, then = _as_integers(value), _as_integers(before)
        kept = now == then
        if bool(kept.all()):
            continue
        if value.dim() <= 1:
            whole[name] = value
        elif value.is_floating_point() and not bool(now[~kept].any()):
            bits[name] = pack(kept)
        else:
            changed.append(name)
    if changed:
        trained = f"{len(changed)} matrices of its base {absolute(base.path)} were trained, such as {changed[0]}"
        raise PartError(checkpoint, f"cannot become a part: {trained}; export --to compact keeps the whole model")
    return whole, bits


def _require_like(checkpoint: str | Path, name: str, value: Tensor, before: Tensor, base: Path) -> None:
    if value.shape != before.shape:
        shapes = f"{tuple(value.shape)}, its base {absolute(base)} has {tuple(before.shape)}"
        raise PartError(checkpoint, f"is of another architecture: {name} has shape {shapes}")
    if value.dtype != before.dtype:
        kinds = f"{value.dtype}, its base {absolute(base)} has {before.dtype}: rounding has changed the base's weights"
        raise PartError(checkpoint, f"{name} is {kinds}; train without common.fp16, or name a base of the same type")


def _as_integers(value: Tensor) -> Tensor:
    flat = value.detach().contiguous().view(-1)
    return flat.view(INTEGERS[flat.element_size()])


def _method(whole: Mapping[str, Tensor], own: list[str], bits: Mapping[str, Tensor]) -> str:
    """Return the components of the part, such as ``mask+head``."""
    kinds = {
        "mask": bool(bits),
        "adapters": any(".adapter." in name for name in own),
        "lora": any(".lora." in name for name in own),
        "vectors": len(own) < len(whole),
        "head": True,
    }
    return "+".join(kind for kind, there in kinds.items() if there)
