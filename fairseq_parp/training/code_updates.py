"""Drives the codebook of a grounded model by the events of fairseq's trainer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fairseq_parp.errors import ConfigError, ResumeError
from fairseq_parp.grounded.codes import Codes
from fairseq_parp.grounded.weighting import Alpha

logger = logging.getLogger(__name__)


class CodeUpdates:
    """The codebook follows the features of the updates that were made, and of no others.

    Args:
        model: a model whose ``grounded`` part may have a codebook; without one, the calls have no effect.
        seed: seed of the run.
    """

    def __init__(self, model: Any, seed: int) -> None:
        grounded: Any = getattr(model, "grounded", None) or {}
        self.codes: Codes | None = dict(grounded).get("codes")
        self._witness = grounded["image"].cls if self.codes is not None else None
        self._seed = seed

    def before_forward(self, ignore: bool) -> None:
        """Observe the next micro-batch, unless it only keeps ranks in step.

        Gradients are cleared when an update begins. Features that were observed before belong to an update that fp16
        skipped for an overflow.
        """
        if self.codes is None or self._witness is None:
            return
        if self._witness.grad is None:
            self.codes.book.forget()
        self.codes.book.observing = not ignore

    def after_step(self, updates: int, taken: bool) -> None:
        """Move the codes, if the optimizer took its step; the backward passes are over.

        Raises:
            ConfigError: the update that seeds the codes has fewer different features than codes.
        """
        if self.codes is None:
            return
        book = self.codes.book
        if not taken:
            book.forget()
            return
        before = bool(book.seeded)
        book.update(updates, self._seed)
        if book.seeded and not before:
            logger.info(f"update {updates} seeded {len(book.embedding)} codes from features of both modalities")

    def require_same(self, state: Mapping[str, Any]) -> None:
        """Compare the codebook with that of a checkpoint to continue from.

        Raises:
            ResumeError: it has another number of codes, or codes of another width.
        """
        codes, width = (0, 0) if self.codes is None else self.codes.book.embedding.shape
        saved = state["model"].get("grounded.codes.book.embedding")
        there = (0, 0) if saved is None else saved.shape
        for key, was, now in (("codes", there[0], codes), ("code_width", there[1], width)):
            if was != now:
                raise ResumeError(f"model.{key}", was, now)


def require_codes(run: Any, model: Any, alpha: Alpha) -> None:
    """Check the keys of criterion, model and run that a codebook depends on.

    Args:
        run: the whole config.
        model: its model's.
        alpha: weight of the pictures' loss.

    Raises:
        ConfigError: they do not fit together.
    """
    weight = run.criterion.code_weight
    if weight > 0 and not model.codes:
        raise ConfigError("criterion.code_weight", weight, "needs a codebook: model.codes above 0")
    if model.codes and not alpha.trains_pictures:
        raise ConfigError("model.codes", model.codes, "needs pictures: criterion.alpha above 0")
    last = int(run.optimization.max_update or 0)
    if model.codes and 0 < last <= model.code_warm_up:
        allowed = f"must be less than optimization.max_update={last}: else the codes are never seeded"
        raise ConfigError("model.code_warm_up", model.code_warm_up, allowed)
