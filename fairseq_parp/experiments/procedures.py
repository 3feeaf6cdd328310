"""The methods of experiments: the pruning methods, and procedures of several finetunings.

OMP (one-shot magnitude pruning) finetunes dense, takes the magnitude mask of the result, and finetunes again under it.
IMP (iterative magnitude pruning) prunes a tenth more after each round. Both hold their masks by the method ``fixed``.
S3-Router-P finetunes dense, and learns a mask of the finetuned weights by the method ``s3_router``.
"""

from __future__ import annotations

from fairseq_parp.errors import ConfigError
from fairseq_parp.registry import Registry
from fairseq_parp.sparsity import METHODS
from fairseq_parp.sparsity.methods import Facts

BASELINE = "dense"
"""The method with which every sparse system is compared."""

HOLDER = "fixed"
"""The method that holds a given mask: that of a procedure, or of another training set."""

LEARNER = "s3_router"
"""The method that learns the mask of a procedure."""

PROCEDURES: Registry[Facts] = Registry("method")
PROCEDURES.register("imp", Facts("IMP", "#009E73", "D", finetunings=lambda sparsity: round(10 * sparsity) + 1))
PROCEDURES.register("omp", Facts("OMP", "#D55E00", "^", finetunings=lambda _sparsity: 2))
PROCEDURES.register(
    "s3_router_p", Facts("S3-Router-P", "#AA4499", ">", frozen_by_scripts=False, finetunings=lambda _: 2)
)


def known() -> list[str]:
    """Return the names that a run can have, in the order in which tables show them.

    That is the baseline, methods that re-prune, procedures, and methods that hold a mask.
    """
    moving = [name for name in METHODS if METHODS[name].facts.reprunes]
    held = [name for name in METHODS if name not in (BASELINE, *moving)]
    return [BASELINE, *moving, *PROCEDURES, *held]


def facts_of(name: str) -> Facts:
    """Return the facts of a method or procedure.

    Raises:
        ConfigError: no method has that name.
    """
    if name in PROCEDURES:
        return PROCEDURES[name]
    if name in METHODS:
        return METHODS[name].facts
    raise ConfigError("method", name, f"must be one of {', '.join(known())}")


def takes(name: str, key: str) -> bool:
    """Return whether a method has a key of ``task.pruning``; procedures have none of their own."""
    return name in METHODS and key in METHODS[name].config_class.names()
