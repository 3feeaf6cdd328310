"""One prunable parameter: the tensor of the model, the tensor that the optimizer steps, and the gradient."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class PrunedParameter:
    """A parameter within the scope.

    Attributes:
        weight: the tensor that the model computes with and that a checkpoint holds.
        master: the higher-precision copy that the optimizer steps, or None. Its magnitudes rank, and it is zeroed too.
    """

    weight: Tensor
    master: Tensor | None = None

    def __repr__(self) -> str:
        master = "" if self.master is None else f", master {self.master.dtype}"
        return f"PrunedParameter({tuple(self.weight.shape)}, {self.weight.dtype}{master})"

    @property
    def ranked(self) -> Tensor:
        """The tensor whose magnitudes rank, detached. Rounding keeps their order, so the master only breaks ties."""
        return (self.weight if self.master is None else self.master).detach()

    @property
    def gradient(self) -> Tensor | None:
        """The gradient of this update, of the weight's shape; None if there is no gradient."""
        return self.weight.grad
