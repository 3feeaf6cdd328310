"""Methods that come to rest before the run ends: their ramp is over, or their mask stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fairseq_parp.errors import ConfigError, ResumeError
from fairseq_parp.sparsity.config import PREFIX, EndConfig
from fairseq_parp.sparsity.methods.base import Method

if TYPE_CHECKING:
    from fairseq_parp.sparsity.masks import MaskSet

KEY = f"{PREFIX}.end_update"


class Ending(Method):
    """Base class of methods with the key ``end_update``.

    Attributes:
        end: the update after which the mask stays: the requested one, or three quarters of the run.
    """

    config_class = EndConfig
    config: EndConfig

    def __init__(self, config: EndConfig, last_update: int | None) -> None:
        """Take the end from the config or from the run's length.

        Raises:
            ConfigError: neither is known, or the end lies behind the run's.
        """
        asked = config.end_update
        if asked is None and last_update is None:
            raise ConfigError("optimization.max_update", None, f"{config.method} needs it, or {KEY}")
        if asked is not None and last_update is not None and asked > last_update:
            raise ConfigError(KEY, asked, f"must not exceed optimization.max_update={last_update}")
        self.end = max(1, 3 * (last_update or 0) // 4) if asked is None else asked
        super().__init__(config, last_update)

    def state_dict(self) -> dict[str, Any]:
        """Return where the method comes to rest."""
        return {"end": self.end}

    def load_state_dict(self, state: Mapping[str, Any], mask: MaskSet) -> None:  # noqa: ARG002
        """Check that the method comes to rest where it did.

        Raises:
            ResumeError: it does so elsewhere: the key, or the run's length, differs.
        """
        end = state.get("end", self.end)  # earlier versions did not save it
        if end != self.end:
            raise ResumeError(KEY, end, self.end, f"keep the earlier end by {KEY}={end}")
