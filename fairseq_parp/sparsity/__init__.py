"""The core of pruning, in PyTorch, numpy and, if it is compiled, C++ for speed. It imports no fairseq.

Data flows one way: config -> scope -> method -> criterion -> allocation -> structure -> mask -> weights.
"""

from fairseq_parp.sparsity.config import PruningConfig
from fairseq_parp.sparsity.masks import MaskSet
from fairseq_parp.sparsity.methods import METHODS, read_config
from fairseq_parp.sparsity.parameter import PrunedParameter
from fairseq_parp.sparsity.record import PruneRecord
from fairseq_parp.sparsity.scope import find_parameters
from fairseq_parp.sparsity.session import PruningSession
from fairseq_parp.sparsity.sources import Sources

__all__ = [
    "METHODS",
    "MaskSet",
    "PruneRecord",
    "PrunedParameter",
    "PruningConfig",
    "PruningSession",
    "Sources",
    "find_parameters",
    "read_config",
]
