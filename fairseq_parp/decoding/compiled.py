"""The prefix beam search in C++ (``prefix_search.cpp``): the same hypotheses as in torch, many times faster."""

from __future__ import annotations

import ctypes
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from fairseq_parp import native
from fairseq_parp.decoding.decoder import Hypothesis, nothing_possible
from fairseq_parp.decoding.prefix_beam import PrefixBeamDecoder


@functools.cache
def library() -> Any:
    """Return the function of the library; None if it was not compiled."""
    library = native.load("decoding.prefix_search")
    if library is None:
        return None
    decode = library.parp_decode
    decode.restype = ctypes.c_int64
    decode.argtypes = [ctypes.c_void_p, *[ctypes.c_int64] * 5, *[ctypes.c_double] * 2, *[ctypes.c_void_p] * 5]
    return decode


class CompiledPrefixBeamDecoder(PrefixBeamDecoder):
    """Searches like :class:`PrefixBeamDecoder`, on the CPU, for log-probabilities on any device.

    ``torch.get_num_threads()`` utterances are searched at a time.
    """

    def search(self, log_probs: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        """Decode a batch; see :meth:`PrefixBeamDecoder.search`. The hypotheses' tensors are on the CPU.

        Raises:
            IndexError: there is no such symbol as ``blank``.
            MemoryError: the beam is too wide.
        """
        if not 0 <= self.blank < log_probs.size(-1):
            raise IndexError(f"the blank is symbol {self.blank} of {log_probs.size(-1)}")
        frames = log_probs.detach().to("cpu", torch.float64).contiguous()
        utterances = [frames[row, :length] for row, length in enumerate(lengths.tolist())]
        threads = min(torch.get_num_threads(), len(utterances))
        if threads < 2:
            return [self._search(each) for each in utterances]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self._search, utterances))

    def _search(self, log_probs: Tensor) -> list[Hypothesis]:
        """Decode one utterance, (T, C) float64, its memory in one piece."""
        settings = self.blank, self.beam, self.nbest, self.pruning.token_min_logp, self.pruning.beam_prune_logp
        counts, scores = torch.empty(self.nbest, dtype=torch.long), torch.empty(self.nbest, dtype=torch.double)
        labels, starts = torch.empty((2, self.nbest, len(log_probs)), dtype=torch.long)
        positional = torch.empty_like(labels, dtype=torch.double)
        places = [each.data_ptr() for each in (counts, scores, labels, starts, positional)]
        found = library()(log_probs.data_ptr(), *log_probs.shape, *settings, *places)
        if found < 0:
            raise MemoryError(f"a prefix beam search, beam {self.beam}")
        return [
            Hypothesis(labels[m, :n].clone(), float(scores[m]), positional[m, :n].clone(), starts[m, :n].clone())
            for m, n in enumerate(counts[:found].tolist())
        ] or [nothing_possible(log_probs.device)]


@functools.cache
def fastest_search() -> type[PrefixBeamDecoder]:
    """Return the compiled search; where it was not compiled, the one in torch, which finds the same."""
    return CompiledPrefixBeamDecoder if library() else PrefixBeamDecoder
