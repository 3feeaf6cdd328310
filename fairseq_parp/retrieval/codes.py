"""The codes that a split's captions and pictures use, and recall by them alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_parp.errors import CheckpointError, absolute
from fairseq_parp.figures import blank, write
from fairseq_parp.grounded.code_matching import keys, queries
from fairseq_parp.grounded.code_use import CodeUse, code_use
from fairseq_parp.retrieval.embedding import Embedded, Used
from fairseq_parp.retrieval.results import Recall, measure


class CodesFound(NamedTuple):
    """How a split uses the codes.

    Attributes:
        audio: (V,) frames of speech next to each code, over all captions.
        image: (V,) regions next to each code, over all pictures.
        use: in numbers.
        recall: by the usage of codes alone, without embeddings.
    """

    audio: Tensor
    image: Tensor
    use: CodeUse
    recall: list[Recall]


def measure_codes(embedded: Embedded, path: Path) -> CodesFound:
    """Count the uses of each code, and rank captions and pictures by code matching alone.

    Args:
        embedded: a split.
        path: of the checkpoint.

    Raises:
        CheckpointError: the model has no codebook, or its codes are not seeded yet.
    """
    if not embedded.caption_codes:
        reason = "has no codes: train with model.codes above 0 for more updates than model.code_warm_up"
        raise CheckpointError(absolute(path), reason)
    audio, image = _uses(embedded.caption_codes), _uses(embedded.image_codes)
    spoken, seen = (
        torch.stack([each.usage for each in side]).double() for side in (embedded.caption_codes, embedded.image_codes)
    )
    _, recall = measure(embedded._replace(captions=queries(spoken), images=keys(seen)))
    return CodesFound(audio, image, code_use(audio, image), recall)


def draw(found: CodesFound, path: str | Path) -> None:
    """Draw each code's share of both modalities' uses, the codes that most differ at the ends."""
    shares = [uses.double() / uses.sum() for uses in (found.audio, found.image)]
    used = (shares[0] + shares[1]).nonzero()[:, 0]
    order = used[(shares[0] - shares[1])[used].argsort(descending=True)]
    figure = blank(8, 3)
    axes = figure.add_subplot()
    axes.bar(range(len(order)), 100 * shares[0][order], 1, label="speech")
    axes.bar(range(len(order)), -100 * shares[1][order], 1, label="pictures")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel(f"{found.use.used} codes with a use, {found.use.shared} shared")
    axes.set_ylabel("% of a modality's uses")
    axes.legend()
    write(figure, path)


def _uses(items: Sequence[Used]) -> Tensor:
    return torch.bincount(torch.cat([each.nearest for each in items]), minlength=len(items[0].usage))
