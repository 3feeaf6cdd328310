"""The base class of methods: objects whose events the session calls, with the weights to prune."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from fairseq_parp.errors import ConfigError
from fairseq_parp.sparsity.config import PREFIX, PruningConfig
from fairseq_parp.sparsity.counting import exact
from fairseq_parp.sparsity.schedule import Ramp, constant
from fairseq_parp.sparsity.scope import find_parameters

if TYPE_CHECKING:
    from fairseq_parp.sparsity.masks import MaskSet
    from fairseq_parp.sparsity.pruned_weights import PrunedWeights


def _one(_sparsity: float) -> int:
    return 1


@dataclass(frozen=True)
class Facts:
    """Facts about a method that commands, experiments, pictures and verdicts read.

    Attributes:
        label: name in tables and pictures.
        colour: colour of its lines and bars, ``#RRGGBB``.
        marker: marker of its points, by matplotlib's name.
        reprunes: whether its mask changes during training.
        frozen_by_scripts: whether the released scripts freeze the Transformer for its first updates.
        grows: whether weights that the mask begins to keep start at zero; a file can have more zeros than its mask.
        finetunings: maps a sparsity to the number of finetunings for one result, earlier ones included.
    """

    label: str
    colour: str = "#7F7F7F"
    marker: str = "*"
    reprunes: bool = False
    frozen_by_scripts: bool = True
    grows: bool = False
    finetunings: Callable[[float], int] = _one


class Method:
    """A method of one run. The events do nothing unless a method overrides them.

    Attributes:
        config: its validated keys.
        last_update: update after which the run ends; None if it is unknown.
        schedule: maps a number of updates to the sparsity of a prune after them.
    """

    facts: ClassVar[Facts]
    config_class: ClassVar[type[PruningConfig]] = PruningConfig
    fits: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """By axis (``criterion``, ``structure``, ``allocation``), the entries that the method can use; without one, all."""
    learns_scores: ClassVar[bool] = False
    """Whether the optimizer trains scores of the weights in place of the weights."""

    def __init__(self, config: PruningConfig, last_update: int | None) -> None:
        for axis, fitting in self.fits.items():
            if (given := getattr(config, axis)) not in fitting:
                allowed = f"method {config.method} takes {', '.join(fitting)}"
                raise ConfigError(f"{PREFIX}.{axis}", given, allowed)
        self.config, self.last_update = config, last_update
        self.schedule = self.make_schedule()

    def make_schedule(self) -> Ramp:
        """Return the sparsity over updates; by default it is ``task.pruning.sparsity`` throughout."""
        return constant(exact(self.config.sparsity))

    def target(self, update: int) -> Fraction:
        """Return the sparsity of a prune after ``update`` updates."""
        return self.schedule.at(update)

    @classmethod
    def prunable(cls, model: nn.Module, scope: str | Iterable[str]) -> dict[str, nn.Parameter]:
        """Return the parameters that the method prunes, by name: all of the scope, unless a method prunes fewer.

        Raises:
            ScopeError: no parameter is left.
        """
        return find_parameters(model, scope)

    # --- events, in the order of a run -----------------------------------------------------------------------------

    def prepare(self, pruned: PrunedWeights) -> None:
        """The session is made: read and check the sources of the first mask. The weights may still be replaced."""

    def begin(self, pruned: PrunedWeights, update: int) -> None:
        """The weights are loaded and training begins, or continues without a mask: compute the first mask."""

    def before_forward(self, pruned: PrunedWeights, update: int) -> None:
        """A micro-batch is about to be computed; ``update`` updates were made before."""

    def after_backward(self, pruned: PrunedWeights) -> None:
        """The backward pass of a micro-batch has ended."""

    def before_step(self, pruned: PrunedWeights, update: int) -> None:
        """The optimizer is about to step; ``update`` updates were made before."""

    def after_step(self, pruned: PrunedWeights, update: int) -> None:
        """The optimizer has made the step that is the ``update``-th."""

    def show_sparse(self, pruned: PrunedWeights, update: int | None) -> None:
        """Validation or saving begins: the parameters must hold the sparse model until :meth:`show_trained`."""

    def show_trained(self, pruned: PrunedWeights) -> None:
        """Training continues: the parameters must hold the trained weights again."""

    # --- state -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the method's own state for a resumed run: plain values and tensors."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], mask: MaskSet) -> None:
        """Continue the run that saved ``state``, whose last mask is ``mask``; the session adopts that mask afterwards.

        Raises:
            ResumeError: the state belongs to another run.
        """


def is_time(update: int, interval: int | None, last_update: int | None) -> bool:
    """Return whether a re-prune is due after ``update`` updates (1 is the first).

    A re-prune is due after every multiple of the interval, and after the last update, so the run ends with the sparse
    model. Without an interval no re-prune is due.
    """
    return interval is not None and (update % interval == 0 or update == last_update)
