"""CTC decoding: what turns a model's log-probabilities into text.

A :class:`Searcher` finds label sequences; :mod:`.lattice` says what one is worth over all its
alignments; :class:`CTCGenerator` is what fairseq-generate calls. Nothing here imports fairseq.
"""

from fairseq_parp.decoding.generator import CTCGenerator, build_generator
from fairseq_parp.decoding.greedy import GreedySearcher
from fairseq_parp.decoding.language_model import LanguageModel
from fairseq_parp.decoding.prefix_beam import PrefixBeamSearcher
from fairseq_parp.decoding.pruning import NO_PRUNING, Pruning
from fairseq_parp.decoding.searcher import Hypothesis, Searcher

__all__ = [
    "NO_PRUNING",
    "CTCGenerator",
    "GreedySearcher",
    "Hypothesis",
    "LanguageModel",
    "PrefixBeamSearcher",
    "Pruning",
    "Searcher",
    "build_generator",
]
