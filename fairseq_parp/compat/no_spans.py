"""Short audio and narrow models draw no mask spans, instead of ending the run.

Concerns: fairseq-fixed 0.12.3.1 and main of 2025-09; 0.12.2 in part. ``compute_mask_indices`` raises "this should never
happens" in two cases. First, it rounds the number of spans up or down at random, and the result can be 0: if
``mask_channel_prob`` times the width is below ``mask_channel_length``. 0.12.2 raises an IndexError then. Second, an
utterance can be so short that its spans cover it. 0.12.2 masks it completely and continues.

fairseq reduces every row to the smallest number of masked places in the batch. In both cases that number is 0, so here
the whole batch is unmasked.
"""

from __future__ import annotations

import functools
import logging
import sys
from typing import Any

import numpy as np

from fairseq_parp.compat.scope import acting

logger = logging.getLogger(__name__)

_NONE_FIT = ("this should never happen", "the entire sequence is masked", "Cannot take a larger sample", "a must be")


def install() -> None:
    """Wrap ``compute_mask_indices`` wherever fairseq has imported it."""
    from fairseq.data import data_utils

    original = data_utils.compute_mask_indices
    if hasattr(original, "mended_by_parp"):
        return
    warned: set[str] = set()

    @functools.wraps(original)
    def compute_mask_indices(shape: tuple[int, int], *args: Any, **kwargs: Any) -> Any:
        try:
            return original(shape, *args, **kwargs)
        except (ValueError, IndexError) as error:
            if not acting() or (isinstance(error, ValueError) and not str(error).startswith(_NONE_FIT)):
                raise
            _warn_once(warned, shape, args, error)
            return np.full(shape, False)

    compute_mask_indices.mended_by_parp = True  # type: ignore[attr-defined]
    for name, module in list(sys.modules.items()):
        if name.startswith("fairseq.") and vars(module).get("compute_mask_indices") is original:
            vars(module)["compute_mask_indices"] = compute_mask_indices


def _warn_once(warned: set[str], shape: tuple[int, int], args: tuple[Any, ...], error: Exception) -> None:
    """Name the keys: time masks have a padding mask or a minimum of spans, channel masks have neither."""
    kind = "mask" if str(error).startswith("the entire") or args[0] is not None else "mask_channel"
    if kind not in warned:
        warned.add(kind)
        logger.warning(
            f"model.{kind}_prob={args[1]} and model.{kind}_length={args[2]} leave a batch of {shape[0]} x {shape[1]} "
            f"without spans ({str(error) or 'none drawn'}); it is trained on unmasked, and so are others like it"
        )
