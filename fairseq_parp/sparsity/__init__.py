"""The core: what PARP is, in PyTorch, numpy and, for speed, C++ where it is compiled. It never imports fairseq.

Data flows one way: config -> scope -> method -> select -> masks -> weights.
"""

from fairseq_parp.sparsity.config import PruningConfig
from fairseq_parp.sparsity.masks import MaskSet
from fairseq_parp.sparsity.pruner import Pruner, Target
from fairseq_parp.sparsity.scope import find_parameters

__all__ = ["MaskSet", "Pruner", "PruningConfig", "Target", "find_parameters"]
