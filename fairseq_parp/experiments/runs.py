"""One finetuning of an experiment."""

from __future__ import annotations

from dataclasses import dataclass

from fairseq_parp.experiments.procedures import BASELINE, facts_of

PROTOCOLS = ("matched", "paper")


@dataclass(frozen=True)
class Run:
    """One finetuning, with everything decided.

    Attributes:
        data: name of the training set.
        protocol: ``matched`` (no layer frozen, equal updates) or ``paper`` (as the released scripts).
        method: one that :func:`~fairseq_parp.experiments.procedures.known` lists.
        sparsity: requested fraction of zeros; 0 for dense.
        interval: updates between re-prunes; None is never, and for methods that have none.
        lr: peak learning rate.
        mask_from: training set whose OMP mask is transferred, or None.
        updates: length.
        seed: ``common.seed``.
        variant: named settings that its training has beside these; empty for none.
        after: variant of the dense training whose last weights it starts from; None for the start of its recipe.
        after_updates: length of that training.
        tags: parts of its name that distinguish it from its siblings: the keys that the description varies.
    """

    data: str
    protocol: str
    method: str
    sparsity: float
    interval: int | None
    lr: float
    mask_from: str | None
    updates: int
    seed: int
    variant: str = ""
    after: str | None = None
    after_updates: int = 0
    tags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of its folder: method, sparsity, other keys that vary, seed."""
        parts = [*self.tags, self.method]
        if self.method != BASELINE:
            parts.append(f"{self.sparsity:g}")
        if facts_of(self.method).reprunes:
            parts.append("never" if self.interval is None else f"every{self.interval}")
        if self.mask_from is not None:
            parts.append(f"from-{self.mask_from}")
        return "-".join([*parts, f"seed{self.seed}"])

    @property
    def lengths(self) -> list[int]:
        """The updates of its last training, and of the one that it starts from."""
        return [self.updates, *[self.after_updates] * (self.after is not None)]

    @property
    def finetunings(self) -> int:
        """How many finetunings it takes by itself, those that it could share included (paper's count)."""
        prepared = (self.mask_from is not None) + (self.after is not None)
        return facts_of(self.method).finetunings(self.sparsity) + prepared
