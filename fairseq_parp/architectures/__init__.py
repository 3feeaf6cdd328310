"""Facts about the encoders that can be pruned, one row a family. Scope, report and fresh masks read them from here."""

from fairseq_parp.architectures.families import ARCHITECTURES, distinct_families
from fairseq_parp.architectures.family import Family, LinearMap, encoder_config, family_of, is_adapter
from fairseq_parp.architectures.naming import kind_of, layer_of

__all__ = [
    "ARCHITECTURES",
    "Family",
    "LinearMap",
    "distinct_families",
    "encoder_config",
    "family_of",
    "is_adapter",
    "kind_of",
    "layer_of",
]
