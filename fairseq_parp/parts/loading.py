"""Loads many parts over one base from files."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fairseq_parp.adapters import modules_of, owner_of
from fairseq_parp.architectures import is_adapter
from fairseq_parp.checkpoints.reading import dictionary_of
from fairseq_parp.errors import ConfigError, PartError, first_line
from fairseq_parp.parts.applying import unmarked_state
from fairseq_parp.parts.base import Base
from fairseq_parp.parts.part import Part
from fairseq_parp.parts.switching import Change, Switch
from fairseq_parp.plugin import load_plugin
from fairseq_parp.sparsity import MaskSet
from fairseq_parp.transcription.loading import Finetuned, finetuned_of

_BLANKS = ("blank_weight", "blank_mode")
"""Keys of a CTC model's config that its outputs depend on, and its attributes of the same names."""


class Parts:
    """One base in memory and many parts over it; one of them is in use.

    All languages share modules and tensors, which a switch changes in place. The outputs equal those of the language's
    single checkpoint bit for bit. The model of a language that is not in use refuses to compute. Use one thread at a
    time.

    Attributes:
        parts: the parts by language.
    """

    def __init__(
        self, base: str | Path, parts: Mapping[str, str | Path], device: str | torch.device | None = None
    ) -> None:
        """Read a base and its parts, and switch to the first one.

        Args:
            base: path of the pretrained checkpoint of all parts.
            parts: paths of the part files by language.
            device: device of the model and the parts; by default a GPU if there is one.

        Raises:
            CheckpointError: the base cannot be read.
            ConfigError: ``parts`` is empty.
            PartError: a part cannot be read, or belongs to another base or another language.
        """
        if not parts:
            raise ConfigError("parts", {}, "name at least one part")
        load_plugin()
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.parts = {language: _read(language, file) for language, file in parts.items()}
        opened = Base.open(base)
        for language, part in self.parts.items():
            opened.require(parts[language], part)
        first, part = next(iter(self.parts.items()))
        built = finetuned_of(unmarked_state(opened, parts[first], part), base)
        del opened
        model = built.model.to(self.device)
        changes = {language: _change(parts[language], model, each) for language, each in self.parts.items()}
        self._switch = Switch(model, changes)
        self._finetuned = {language: self._described(built, language) for language in self.parts}
        self.switch(first)

    @property
    def language(self) -> str | None:
        """The language in use; None after an interrupted switch."""
        return self._switch.current

    def switch(self, language: str) -> Finetuned:
        """Switch to a language, and return its model, dictionary, normalisation and sampling rate.

        Raises:
            ConfigError: the language is not loaded; the language in use does not change.
        """
        self._switch.to(language)
        return self._finetuned[language]

    def _described(self, built: Finetuned, language: str) -> Finetuned:
        """Return a language's own model, which shares all modules and tensors, and its dictionary."""
        content: Mapping[str, Any] = self.parts[language].content
        model = copy.copy(built.model)
        for hooks in ("_forward_pre_hooks", "_state_dict_pre_hooks"):
            setattr(model, hooks, OrderedDict())
        model.register_forward_pre_hook(lambda *_: self._require(language))
        model.register_state_dict_pre_hook(lambda *_: self._require(language))
        for key in _BLANKS:
            if hasattr(model, key) and key in content["cfg"]["model"]:
                setattr(model, key, content["cfg"]["model"][key])
        return Finetuned(
            model, dictionary_of(content["symbols"]), content["labels"], content["normalize"], content["sample_rate"]
        )

    def _require(self, language: str) -> None:
        """Check that a language is in use.

        Raises:
            ConfigError: another one is.
        """
        if self.language != language:
            raise ConfigError("language", self.language, f"is in use; switch to {language} to use its model")


def _read(language: str, file: str | Path) -> Part:
    part = Part.load(file)
    if part.language != language:
        raise PartError(file, f"is of language {part.language!r}, and is loaded as {language!r}; use its own name")
    if not part.content["labels"]:
        raise PartError(file, "was not finetuned on labels, so it recognises nothing")
    return part


def _change(file: str | Path, model: nn.Module, part: Part) -> Change:
    slots = dict(model.named_parameters()) | dict(model.named_buffers())
    device = next(model.parameters()).device
    small = {name: value for name, value in part.tensors.items() if is_adapter(name)}
    whole = {name: value.to(device) for name, value in part.tensors.items() if name not in small}
    if stray := [name for name in (*whole, *part.mask.bits) if name not in slots]:
        raise PartError(file, f"has a tensor {stray[0]}, which its model does not have")
    modules = modules_of(small)
    try:
        for owner, module in modules.items():
            model.get_submodule(owner)
            values = {_within(name): value for name, value in small.items() if owner_of(name) == owner}
            module.load_state_dict(values, strict=True)
            module.to(device).eval().requires_grad_(False)
        if stray := [name for name in small if owner_of(name) not in modules]:
            raise KeyError(stray[0])
    except (AttributeError, KeyError, RuntimeError) as error:
        raise PartError(file, f"its adapters do not fit its model ({first_line(error)})") from None
    bits = {name: each.to(device) for name, each in part.mask.bits.items()}
    return Change(MaskSet(bits, part.mask.shapes), whole, modules)


def _within(name: str) -> str:
    """Return an adapter's own name of a tensor.

    >>> _within("encoder.layers.0.fc2.adapter.up.weight")
    'up.weight'
    """
    return name.removeprefix(owner_of(name)).split(".", 2)[2]
