"""The steps that an experiment is made of: trainings, masks, decodings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """One command, with its needs and its product.

    Attributes:
        name: unique in the experiment: ``train NAME``, ``mask NAME``, ``decode NAME SPLIT`` or ``validate NAME SPLIT``.
        argv: the command.
        product: file that exists after the command has ended well.
        needs: names of the steps whose products it reads.
        updates: number of updates of a training; 0 for other commands.
        data: name of the training set.
        reads: files from outside the experiment, whose content must not change.
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
        """Name of this step's files."""
        return self.name.replace(" ", "_").replace("/", "_")


@dataclass(frozen=True)
class Outcome:
    """The steps with a run's results.

    Attributes:
        train: its last training.
        decodings: decoding steps by split; validations of a pretraining.
        mpi: step that makes the MPI mask of its sparsity; None for dense, and without pretrained weights.
    """

    train: Step
    decodings: dict[str, Step]
    mpi: Step | None
