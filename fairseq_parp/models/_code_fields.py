"""The keys of a codebook in the config of a grounded model."""

from dataclasses import dataclass, field
from math import inf
from typing import Any, Optional

from fairseq_parp.grounded.allowed import require_allowed
from fairseq_parp.grounded.codes import CodeSettings


@dataclass
class CodeFields:
    """``codes`` and its shape; with 0 codes nothing is built."""

    codes: int = field(default=0, metadata={"help": "codes that speech and pictures share; 0 builds no codebook"})
    code_width: int = field(default=256, metadata={"help": "width of a code"})
    code_temperature: float = field(default=1.0, metadata={"help": "divides a feature's distances to the codes"})
    code_decay: float = field(default=0.99, metadata={"help": "decay of the codes' moving average"})
    code_warm_up: int = field(default=1000, metadata={"help": "updates before the codes are seeded with features"})
    code_patience: int = field(default=300, metadata={"help": "updates after which an unused code is replaced"})
    code_fusion: bool = field(default=False, metadata={"help": "add an item's mean code to its retrieval vector"})


def code_settings(cfg: Any) -> Optional[CodeSettings]:  # noqa: UP045
    """Return a model's codebook, or None.

    Raises:
        ConfigError: a key has a value that is not allowed.
    """
    allowed = {
        "codes": (cfg.codes >= 0 and cfg.codes != 1, "must be 0 (no codebook) or 2 and more"),
        "code_width": (cfg.code_width >= 1, "must be 1 or more"),
        "code_temperature": (0 < cfg.code_temperature < inf, "must be a number above 0"),
        "code_decay": (0 <= cfg.code_decay < 1, "must be at least 0 and below 1"),
        "code_warm_up": (cfg.code_warm_up >= 0, "must be 0 or more updates"),
        "code_patience": (cfg.code_patience >= 1, "must be 1 update or more"),
        "code_fusion": (cfg.codes > 0 or not cfg.code_fusion, "needs a codebook: model.codes above 0"),
    }
    require_allowed("model", cfg, allowed)
    if cfg.codes == 0:
        return None
    numbers = cfg.codes, cfg.code_width, cfg.code_temperature, cfg.code_decay, cfg.code_warm_up, cfg.code_patience
    return CodeSettings(*numbers, cfg.code_fusion)
