"""The trained parameters of a pretrained model, and small modules within it: bottleneck adapters and LoRA.

Data flows one way: config -> modules within the layers -> trained parameters. A file's tensors determine its modules.
"""

from fairseq_parp.adapters.config import KINDS, AdapterConfig, read_adapters
from fairseq_parp.adapters.insertion import adapt, put, take_out
from fairseq_parp.adapters.loading import accept, modules_of, owner_of, require_same
from fairseq_parp.adapters.merging import merged
from fairseq_parp.adapters.pruned import require_prunable
from fairseq_parp.adapters.training import Trained, set_trained

__all__ = [
    "KINDS", "AdapterConfig", "Trained", "accept", "adapt", "merged", "modules_of", "owner_of", "put", "read_adapters",
    "require_prunable", "require_same", "set_trained", "take_out",
]  # fmt: skip
