"""Every utterance counts: batches that leave none out."""

from __future__ import annotations

from typing import Any

import numpy as np
from fairseq.data import BaseWrapperDataset

from fairseq_parp.errors import ConfigError
from fairseq_parp.glue import one_line_errors


class EveryUtterance(BaseWrapperDataset):
    """A dataset whose batches hold every index they are made from.

    fairseq-fixed 0.12.3.1 and main of 2025-09 silently drop the last batch where its size does not divide by
    ``dataset.required_batch_size_multiple`` (8 by default): five of five utterances, 5 of 36. 0.12.2 does not.
    """

    def batch_by_size(
        self,
        indices: Any,
        max_tokens: int | None = None,
        max_sentences: int | None = None,
        required_batch_size_multiple: int = 1,
    ) -> list[Any]:
        """Return fairseq's batches of ``indices``, followed by the one that it dropped.

        Raises:
            ConfigError: an utterance alone exceeds ``max_tokens``.
        """
        if len(indices) == 0:
            return []
        with one_line_errors():
            self._require_room(indices, max_tokens)
        batches = list(self.dataset.batch_by_size(indices, max_tokens, max_sentences, required_batch_size_multiple))
        dropped = np.asarray(indices)[sum(len(batch) for batch in batches) :]
        return [*batches, dropped] if len(dropped) else batches

    def _require_room(self, indices: Any, max_tokens: int | None) -> None:
        longest = max(self.num_tokens(index) for index in indices)
        if max_tokens is not None and longest > max_tokens:
            allowed = f"the longest utterance has {longest} samples; give at least as many, or skip invalid inputs"
            raise ConfigError("max_tokens", max_tokens, allowed)
