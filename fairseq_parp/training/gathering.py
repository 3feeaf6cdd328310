"""Embeddings of all ranks in every rank's loss, with their gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional


class _Gather(torch.autograd.Function):
    """All ranks' rows one after another; the gradient of a rank's rows is the sum over the losses of all ranks.

    fairseq averages gradients over the ranks. As every rank computes the same loss of the same rows, that average is
    the gradient of this loss.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        padded = functional.pad(rows, (0, 0) * (rows.dim() - 1) + (0, max(sizes) - len(rows)))
        every = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(every, padded.contiguous())
        return torch.cat([part[:size] for part, size in zip(every, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        summed = gradients[0].contiguous()
        distributed.all_reduce(summed)
        return summed.split(ctx.sizes)[distributed.get_rank()], None


def gather(rows: Tensor) -> Tensor:
    """Return the rows of all ranks, this rank's with a gradient; ranks may have different numbers of rows."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return rows
    mine = torch.tensor([len(rows)], device=rows.device)
    sizes = [torch.empty_like(mine) for _ in range(distributed.get_world_size())]
    distributed.all_gather(sizes, mine)
    found: Tensor = _Gather.apply(rows, [int(size) for size in sizes])  # type: ignore[no-untyped-call]
    return found
