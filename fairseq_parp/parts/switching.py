"""Switches one model in memory between many parts, in pure PyTorch.

Weights under a mask are restored from a copy and masked anew. Tensors that are stored whole are not copied: the
parameter refers to the part's own tensor. Adapters and LoRA are inserted into their modules and removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fairseq_parp.adapters import put, take_out
from fairseq_parp.errors import ConfigError
from fairseq_parp.sparsity import MaskSet


@dataclass(frozen=True)
class Change:
    """The changes of one part to the base's model, all on the model's device.

    Attributes:
        mask: masks of parameters, by name.
        tensors: values of parameters and buffers, by name; shapes may differ between parts.
        modules: adapters and LoRA, by the name of the module for each.
    """

    mask: MaskSet = field(default_factory=lambda: MaskSet({}, {}))
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    modules: Mapping[str, nn.Module] = field(default_factory=dict)


class Switch:
    """Changes a model in place from one part to another, any number of times, in any order.

    Attributes:
        current: name of the part in use; None before the first switch and after an interrupted one. The next switch
            repairs an interrupted one.
    """

    current: str | None = None

    def __init__(self, model: nn.Module, changes: Mapping[str, Change]) -> None:
        """Store a model with the base's weights, without adapters.

        Args:
            model: the model; from now on only switches may change it.
            changes: the changes of each part, by name.
        """
        self._model, self._changes = model, dict(changes)
        self._slots: dict[str, Tensor] = dict(model.named_parameters()) | dict(model.named_buffers())
        masked = {name for change in changes.values() for name in change.mask.bits}
        whole = {name for change in changes.values() for name in change.tensors}
        self._weights = {name: self._slots[name].detach().clone() for name in sorted(masked)}
        self._values = {name: self._slots[name].data for name in sorted(whole)}
        self._masked: set[str] = set()

    @property
    def names(self) -> list[str]:
        """The names of all parts."""
        return list(self._changes)

    @torch.no_grad()
    def to(self, name: str) -> None:
        """Apply a part's changes to the base.

        Raises:
            ConfigError: there is no such part; the model does not change.
        """
        change = self._changes.get(name)
        if change is None:
            raise ConfigError("language", name, f"is not loaded; loaded are {', '.join(self._changes)}")
        if name == self.current:
            return
        self.current = None
        for owner in {owner for other in self._changes.values() for owner in other.modules}:
            take_out(self._model.get_submodule(owner))
        for each in self._masked | change.mask.bits.keys():
            self._slots[each].copy_(self._weights[each])
        self._masked = set(change.mask.bits)
        change.mask.zero_({each: self._slots[each] for each in change.mask.bits})
        for each, value in self._values.items():
            self._slots[each].data = change.tensors.get(each, value)
        for owner, module in change.modules.items():
            put(self._model.get_submodule(owner), module)
        self.current = name
