"""The small modules. Both start as the identity: the model's outputs equal those without them, bit for bit."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

START = 0.02
"""Standard deviation of the first map's weights, as BERT's."""


class Adapter(nn.Module):
    """x + up(GELU(down(LayerNorm(x)))): a bottleneck of two linear maps beside the identity.

    The paper states the width, the LayerNorm and the place of the adapter. GELU, the place of the LayerNorm and the
    initial values are our choices.

    Args:
        size: last dimension of the input (..., size) and of the output.
        width: width of the bottleneck.
        chance: random generator for the first map's weights.
    """

    def __init__(self, size: int, width: int, chance: torch.Generator | None = None) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        # nn.Linear's own start would use torch's random state, and so change a training's dropout
        self.down = nn.utils.skip_init(nn.Linear, size, width)
        self.up = nn.utils.skip_init(nn.Linear, width, size)
        with torch.no_grad():
            self.down.weight.normal_(0, START, generator=chance)
            for zero in (self.down.bias, self.up.weight, self.up.bias):
                zero.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Return the output, of the input's shape."""
        return x + cast(Tensor, self.up(nn.functional.gelu(self.down(self.norm(x)))))


class LanguageAdapter(nn.Module):
    """x + linear_2(ReLU(linear_1(norm(x)))) after a whole layer: MMS's adapter, with transformers' formula and names.

    Args:
        size: last dimension of the input (..., size) and of the output.
        width: width of the bottleneck.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.linear_1 = nn.utils.skip_init(nn.Linear, size, width)
        self.linear_2 = nn.utils.skip_init(nn.Linear, width, size)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output, of the input's shape."""
        return x + cast(Tensor, self.linear_2(nn.functional.relu(self.linear_1(self.norm(x)))))


class Lora(nn.Module):
    """The product alpha / rank * up @ down, which is added to a weight (out, in).

    Args:
        shape: shape of the weight, (out, in).
        rank: rank of the product.
        scale: alpha / rank, stored with the tensors, so a file needs no config.
        dropout: fraction of the inputs that a forward pass in training drops.
        chance: random generator for ``down``.
    """

    scale: Tensor

    def __init__(
        self, shape: torch.Size | tuple[int, ...], rank: int, scale: float, dropout: float = 0.0,
        chance: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        rows, columns = shape
        bound = columns**-0.5
        self.down = nn.Parameter(torch.empty(rank, columns).uniform_(-bound, bound, generator=chance))
        self.up = nn.Parameter(torch.zeros(rows, rank))
        self.register_buffer("scale", torch.tensor(scale))
        self.dropout = dropout

    def forward(self) -> Tensor:
        """Return the product, (out, in)."""
        # One mask of inputs a pass: the attention takes weights, not modules, so no input passes through here.
        down: Tensor = self.down
        if self.training and self.dropout:
            down = down * nn.functional.dropout(down.new_ones(down.shape[1]), self.dropout)
        return self.scale * (self.up @ down)


class LoraLinear(nn.Linear):
    """A linear map whose ``weight`` reads as the sum of its parameter and :class:`Lora`'s product.

    fairseq's attention passes ``q_proj.weight`` to ``F.multi_head_attention_forward`` and calls no ``q_proj``: a
    wrapper around the module would never be called. The parameter keeps its name in the model and in files.
    """

    lora: Lora

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The sum, (out, in)."""
        return cast(Tensor, self._parameters["weight"]) + cast(Tensor, self.lora())


def apply_adapter(module: nn.Module, _inputs: Any, output: Any) -> Any:
    """Forward hook of a module: pass its output, or the first of its outputs, through the module's ``adapter``."""
    adapter = cast(nn.Module, module.adapter)
    if isinstance(output, tuple):
        return (adapter(output[0]), *output[1:])
    return adapter(output)
