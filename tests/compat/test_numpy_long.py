"""fairseq's masked language model reads one text an example, whatever numpy has of ``numpy.compat``."""

from __future__ import annotations

import numpy as np
import torch
from fairseq.data import TokenBlockDataset

from fairseq_parp import compat


def test_each_text_is_a_block_of_its_own() -> None:
    compat.install()
    texts = [torch.arange(4, 4 + size) for size in (3, 1, 5)]
    blocks = TokenBlockDataset(texts, np.array([3, 1, 5]), 8, pad=1, eos=2, break_mode="eos")
    assert [block.tolist() for block in blocks] == [text.tolist() for text in texts]
