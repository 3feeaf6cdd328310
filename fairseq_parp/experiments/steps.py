"""The steps that an experiment is made of: trainings, masks, decodings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """One command, what it needs and what it leaves.

    Attributes:
        name: unique in the experiment: ``train NAME``, ``mask NAME``, ``decode NAME SPLIT`` or ``validate NAME SPLIT``.
        argv: the command.
        product: file that is there when it has ended well.
        needs: names of the steps whose products it reads.
        updates: how many it trains; 0 for the others.
        data: name of the training set.
        reads: files from outside the experiment; their content must stay.
    """

    name: str
    argv: tuple[str, ...]
    product: Path
    needs: tuple[str, ...]
    updates: int = 0
    data: str = ""
    reads: tuple[Path, ...] = ()

    @property
    def file_name(self) -> str:
        """What files about this step are called."""
        return self.name.replace(" ", "_").replace("/", "_")


@dataclass(frozen=True)
class Outcome:
    """Where to find what became of a run.

    Attributes:
        train: its last training.
        decodings: decoding steps by split; validations of a pretraining.
        mpi: step that makes the MPI mask of its sparsity; None for dense, and without pretrained weights.
    """

    train: Step
    decodings: dict[str, Step]
    mpi: Step | None
