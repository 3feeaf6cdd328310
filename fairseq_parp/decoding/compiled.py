"""The prefix beam search compiled by numba: the same hypotheses as in torch, each utterance in a thread of its own.

Importing this module compiles nothing: that happens at the first search, and is kept on the disk (numba's cache) for
the next process.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from fairseq_parp.decoding.compiled_search import survivors
from fairseq_parp.decoding.compiled_sums import aligned, best_first
from fairseq_parp.decoding.prefix_beam import PrefixBeamSearcher
from fairseq_parp.decoding.searcher import Hypothesis, nothing_possible


class CompiledPrefixBeamSearcher(PrefixBeamSearcher):
    """Does what :class:`PrefixBeamSearcher` does, many times faster; on the CPU, wherever the log-probabilities are.

    Prefixes are nodes of a tree, so that nothing rests on hashes. ``torch.get_num_threads()`` utterances are searched
    at a time.
    """

    def search(self, log_probs: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        """Decode a batch; see :meth:`PrefixBeamSearcher.search`. The hypotheses' tensors are on the CPU."""
        frames = log_probs.detach().to("cpu", torch.float64).contiguous().numpy()
        utterances = [frames[row, :length] for row, length in enumerate(lengths.tolist())]
        threads = min(torch.get_num_threads(), len(utterances))
        if threads < 2:
            return [list(self._decode(each)) for each in utterances]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda each: list(self._decode(each)), utterances))

    def _decode(self, log_probs: Any) -> Iterator[Hypothesis]:
        """Yield the hypotheses of one utterance, (T, C) float64."""
        limits = self.pruning.token_min_logp, self.pruning.beam_prune_logp
        labels, counts = survivors(log_probs, self.blank, self.beam, *limits)
        order, scores, positional = best_first(log_probs, self.blank, labels, counts, self.nbest)
        if not len(order):
            yield nothing_possible(torch.device("cpu"))
        for place, score, increments in zip(order, scores.tolist(), positional, strict=True):
            tokens = labels[place, : counts[place]]
            starts = aligned(log_probs, self.blank, tokens)
            yield Hypothesis(
                torch.from_numpy(tokens), score, torch.from_numpy(increments[: len(tokens)]), torch.from_numpy(starts)
            )
