"""Checks that all ranks of a distributed training compute the same mask.

Ranks exchange gradients, never masks: each ranks its own copy of the weights. Copies that drifted apart (other
hardware, a faulty device) would silently continue as different models.
"""

from __future__ import annotations

import torch
from fairseq.distributed import utils as distributed_utils
from torch import distributed

from fairseq_parp.errors import RankError
from fairseq_parp.sparsity import PruningSession


def rank() -> int:
    """Return this process's data-parallel rank; 0 where there is one process."""
    return int(distributed_utils.get_data_parallel_rank()) if distributed.is_initialized() else 0


def require_same_mask(session: PruningSession) -> None:
    """Compare digests of the last mask with all other ranks; to be called by every rank after the same prune.

    Raises:
        RankError: they differ, on every rank. It names the first rank that differs from rank 0, and the update.
    """
    if session.mask is None or session.record is None or not distributed.is_initialized():
        return
    device = next(iter(session.mask.bits.values())).device
    mine = torch.tensor([session.mask.digest()], dtype=torch.int64, device=device)
    group = distributed_utils.get_data_parallel_group()
    every = [torch.empty_like(mine) for _ in range(distributed.get_world_size(group))]
    distributed.all_gather(every, mine, group=group)
    for other, digest in enumerate(every):
        if not torch.equal(digest, every[0]):
            raise RankError(other, session.record.update)
