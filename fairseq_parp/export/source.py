"""A fairseq checkpoint to export: its tensors, its config, and its model to compare an export with."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from fairseq_parp.adapters import merged
from fairseq_parp.architectures import ARCHITECTURES
from fairseq_parp.checkpoints import read
from fairseq_parp.compat.no_eval import building
from fairseq_parp.decoding.alone import each_alone
from fairseq_parp.decoding.encoder import CTCModel, encode
from fairseq_parp.errors import CheckpointError, ExportError, absolute
from fairseq_parp.export.encoders import Encoder
from fairseq_parp.export.grounded import is_grounded, plain_encoder
from fairseq_parp.plugin import load_plugin

BENEATH = "w2v_encoder.w2v_model."
"""Prefix of the encoder's names in a finetuned model."""


@dataclass(frozen=True)
class Source:
    """One checkpoint.

    Attributes:
        path: path of the file.
        state: content of the file.
        encoder_cfg: fairseq's config of the pretrained model, with ``model`` and ``task``.
    """

    path: Path
    state: Mapping[str, Any]
    encoder_cfg: Any

    @classmethod
    def open(cls, path: str | Path) -> Source:
        """Read a checkpoint.

        Raises:
            CheckpointError: it cannot be read.
        """
        from fairseq_parp.mask_files.fresh import encoder_config

        load_plugin()
        state = read(path)
        state["model"] = merged(str(path), state["model"])
        if is_grounded(state, path):
            state = plain_encoder(state)
        return cls(Path(path), state, encoder_config(state))

    def halved(self) -> Source:
        """Return it with fp16 tensors; the model to compare with stays as it is.

        Raises:
            CheckpointError: a value is too large for fp16.
        """
        tensors = {name: value for name, value in self.state["model"].items() if isinstance(value, Tensor)}
        for name, value in tensors.items():
            if value.dtype == torch.float32:
                tensors[name] = _half(value)
                if value.isfinite().all() and not tensors[name].isfinite().all():
                    largest = float(value.abs().max())
                    raise CheckpointError(absolute(self.path), f"{name} has {largest:.3g}, fp16 ends at 65504")
        return replace(self, state={**self.state, "model": {**self.state["model"], **tensors}})

    @property
    def finetuned(self) -> bool:
        """Whether the model has a CTC head."""
        return any(name.startswith(BENEATH) for name in self.tensors)

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The model's tensors, by fairseq's names."""
        return {name: value for name, value in self.state["model"].items() if isinstance(value, Tensor)}

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder's shape.

        Raises:
            CheckpointError: transformers' classes do not have it.
        """
        try:
            return Encoder.from_fairseq(dict(self.encoder_cfg.model))
        except ExportError as error:
            raise CheckpointError(absolute(self.path), str(error)) from None

    @property
    def cfg(self) -> Any:
        """The whole config, of the finetuned model where there is one."""
        from fairseq.dataclass.utils import convert_namespace_to_omegaconf

        cfg = self.state.get("cfg")
        return convert_namespace_to_omegaconf(self.state["args"]) if cfg is None else OmegaConf.create(cfg)

    @property
    def normalize(self) -> bool:
        """Whether audio is to have zero mean and unit variance."""
        return bool(self.cfg.task.get("normalize", False))

    @property
    def shortest(self) -> int:
        """Samples of the first frame."""
        samples = 1
        for _, kernel, stride in reversed(self.encoder.convolutions):
            samples = (samples - 1) * stride + kernel
        return samples

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return int(self.cfg.task.get("sample_rate", 16000))

    @cached_property
    def symbols(self) -> Sequence[str]:
        """The labels by index; the blank, fairseq's ``<s>``, is the first. Empty for a pretrained model.

        Raises:
            CheckpointError: a finetuned checkpoint without its dictionary.
        """
        if not self.finetuned:
            return ()
        dictionary = (self.state.get("task_state") or {}).get("target_dictionary")
        if dictionary is None:
            raise CheckpointError(
                absolute(self.path), "holds no dictionary of its labels, so no vocabulary can be written"
            )
        return tuple(dictionary.symbols)

    @property
    def labels(self) -> str:
        """Kind of labels, such as ``ltr``."""
        return str(self.cfg.task.get("labels") or "")

    @cached_property
    def model(self) -> nn.Module:
        """fairseq's model in evaluation mode, finetuned or pretrained.

        Raises:
            CheckpointError: it cannot be built.
        """
        if self.finetuned:
            from fairseq_parp.transcription.loading import load_finetuned

            return load_finetuned(self.path).model
        return build_encoder(self.encoder_cfg, self.state)

    @torch.no_grad()
    def outputs(self, source: Tensor, padding: Tensor | None) -> Tensor:
        """Return the output of stock fairseq's forward.

        Args:
            source: (B, samples) audio.
            padding: (B, samples), True past an utterance's end; None without padding.

        Returns:
            (B, T, C) logits of a finetuned model, or features of a pretrained one.
        """
        if self.finetuned:
            found = self.model(source=source, padding_mask=padding)["encoder_out"]
            return found.transpose(0, 1)  # type: ignore[no-any-return]
        found = self.model.extract_features(source, padding, mask=False)  # type: ignore[operator]
        return found["x"] if isinstance(found, dict) else found[0]  # type: ignore[no-any-return]

    @torch.no_grad()
    def outputs_alone(self, source: Tensor, padding: Tensor | None) -> Tensor:
        """Return the (B, T, C) log-probabilities or features that each utterance has alone, as decoding has them."""
        sample = {"source": source, "padding_mask": padding}
        if self.finetuned:
            return encode([cast(CTCModel, self.model)], {"net_input": sample})[0]
        with each_alone(self.model, sample):
            return self.outputs(source, padding)


def _half(value: Tensor) -> Tensor:
    """Round to fp16. A value that would become zero becomes the smallest fp16 number, so the mask does not change."""
    found = value.half()
    smallest = torch.tensor(2.0**-24, dtype=torch.float16)
    return torch.where((found == 0) & (value != 0), torch.copysign(smallest, found), found)


def require_finite(where: str, tensors: Mapping[str, Tensor]) -> None:
    """Check that a model has no NaN and no infinite value.

    Args:
        where: the model's file or folder, for the message.
        tensors: by name.

    Raises:
        ExportError: a tensor has one.
    """
    for name, value in tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ExportError(f"{where}: {name} has NaN or infinite values")


def build_encoder(encoder_cfg: Any, state: Mapping[str, Any]) -> nn.Module:
    """Build the encoder of a checkpoint in evaluation mode, without the parts for pretraining alone.

    Args:
        encoder_cfg: fairseq's config of the pretrained model, with ``model`` and ``task``.
        state: the checkpoint, finetuned or pretrained.

    Raises:
        ExportError: fairseq's class needs a tensor that is missing or has another shape.
    """
    from fairseq import tasks

    name = str(encoder_cfg.model.get("_name"))
    if name in ARCHITECTURES and (family := ARCHITECTURES[name]).imports:
        importlib.import_module(family.imports)
    with building(), contextlib.redirect_stdout(io.StringIO()):
        task = tasks.setup_task(encoder_cfg.task, from_checkpoint=True)
        if encoder_cfg.task.get("_name") == "hubert_pretraining":  # the labels of its pretraining are not needed
            task.load_state_dict({"dictionaries": [None]})
        model = task.build_model(encoder_cfg.model, from_checkpoint=True)
    model.remove_pretraining_modules()
    wanted = model.state_dict()
    tensors = {name.removeprefix(BENEATH): value for name, value in state["model"].items()}
    for name, value in wanted.items():
        if name not in tensors:
            raise ExportError(f"no tensor for {name} of fairseq's {encoder_cfg.model.get('_name')}")
        if tensors[name].shape != value.shape:
            shapes = f"{tuple(tensors[name].shape)}, its config makes it {tuple(value.shape)}"
            raise ExportError(f"the tensor of {name} has shape {shapes}")
    model.load_state_dict({name: tensors[name] for name in wanted}, strict=True)
    return model.eval()  # type: ignore[no-any-return]
