"""Thresholds of a prefix beam search: symbols and prefixes below them are skipped."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import pad

from fairseq_parp.decoding.decoder import NEG_INF


@dataclass(frozen=True)
class BeamThresholds:
    """Limits in natural logarithms, with the names and the defaults of pyctcdecode; -inf is no limit.

    Attributes:
        token_min_logp: in each frame, only symbols with at least this log-probability are read, and always
            the best one (all of them, where several are best).
        beam_prune_logp: after each frame, only prefixes are kept that are at most this much below the best one.
    """

    token_min_logp: float = -5.0
    beam_prune_logp: float = -10.0


USUAL_BEAM_THRESHOLDS = BeamThresholds()
NO_BEAM_PRUNING = BeamThresholds(NEG_INF, NEG_INF)


def prune_frames(frames: Tensor, blank: int, token_min_logp: float) -> Tensor:
    """Reduce (B, T, C) log-probabilities to the frames that a search has to read, with -inf for skipped symbols.

    A frame in which only the blank is possible becomes a certain blank: all paths share its probability, so it does not
    change their order. Of successive certain blanks only the first matters: it ends the last label. The others are
    removed, which leaves a half to a third of the frames of a usual CTC model.

    Args:
        frames: result of ``pad_with_blanks``.
        blank: index of the blank symbol.
        token_min_logp: see :class:`BeamThresholds`.

    Returns:
        (B, T', C); an utterance with fewer than T' frames ends in certain blanks.
    """
    least = frames.amax(-1, keepdim=True).clamp(max=token_min_logp)
    frames = frames.masked_fill(frames < least, NEG_INF)
    possible = frames > NEG_INF
    certain = possible[..., blank] & (possible.sum(-1) == 1)
    frames[..., blank].masked_fill_(certain, 0.0)
    spare = certain & pad(certain, (1, 0))[:, :-1]
    left = spare.sort(dim=1, stable=True).indices[:, : int((~spare).sum(1).max())]
    return frames.gather(1, left[..., None].expand(-1, -1, frames.size(-1)))
