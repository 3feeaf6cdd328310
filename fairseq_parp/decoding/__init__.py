"""CTC decoding: from a model's log-probabilities to text.

A :class:`Decoder` finds label sequences; :mod:`.lattice` gives the score of one over all its
alignments; fairseq-generate calls :class:`CTCGenerator`. Nothing here imports fairseq.
"""

from fairseq_parp.decoding.decoder import Decoder, Hypothesis
from fairseq_parp.decoding.generator import CTCGenerator, build_generator
from fairseq_parp.decoding.greedy import GreedyDecoder
from fairseq_parp.decoding.language_model import LanguageModel
from fairseq_parp.decoding.prefix_beam import PrefixBeamDecoder
from fairseq_parp.decoding.thresholds import NO_BEAM_PRUNING, BeamThresholds

__all__ = [
    "NO_BEAM_PRUNING",
    "BeamThresholds",
    "CTCGenerator",
    "Decoder",
    "GreedyDecoder",
    "Hypothesis",
    "LanguageModel",
    "PrefixBeamDecoder",
    "build_generator",
]
