"""Ranks without CUDA cannot gather a criterion's logging outputs: ``all_gather_list`` allocates its buffer on a GPU.

Concerns: fairseq 0.12.2, fairseq-fixed 0.12.3.1 and main of 2025-09, with every criterion whose logging outputs cannot
be summed, such as those of pretraining. Over gloo, which needs no GPU, torch gathers the objects itself.
"""

from __future__ import annotations

import functools
from typing import Any

from torch import distributed


def install() -> None:
    """Wrap ``all_gather_list``."""
    from fairseq.distributed import utils

    original = utils.all_gather_list
    if hasattr(original, "mended_by_parp"):
        return

    @functools.wraps(original)
    def all_gather_list(data: Any, group: Any = None, max_size: int = 16384) -> list[Any]:
        group = utils.get_global_group() if group is None else group
        if distributed.get_backend(group) != "gloo":
            return original(data, group, max_size)  # type: ignore[no-any-return]
        every: list[Any] = [None] * distributed.get_world_size(group)
        distributed.all_gather_object(every, data, group)
        return every

    all_gather_list.mended_by_parp = True  # type: ignore[attr-defined]
    utils.all_gather_list = all_gather_list
