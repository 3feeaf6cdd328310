"""CTC decoding: what turns a model's log-probabilities into text, and text into UER and WER.

A :class:`Searcher` finds label sequences; :mod:`.lattice` says what one is worth over all its
alignments; :class:`CTCGenerator` is what fairseq-generate calls. Nothing here imports fairseq.
"""

from fairseq_parp.decoding.generator import CTCGenerator, build_generator
from fairseq_parp.decoding.greedy import GreedySearcher
from fairseq_parp.decoding.language_model import LanguageModel
from fairseq_parp.decoding.prefix_beam import PrefixBeamSearcher
from fairseq_parp.decoding.searcher import Hypothesis, Searcher

__all__ = [
    "CTCGenerator",
    "GreedySearcher",
    "Hypothesis",
    "LanguageModel",
    "PrefixBeamSearcher",
    "Searcher",
    "build_generator",
]
