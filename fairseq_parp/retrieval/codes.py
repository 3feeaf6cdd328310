"""The codes that a split's captions and pictures use, their words and objects, and recall by codes alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_parp.figures import blank, write
from fairseq_parp.grounded.code_matching import keys, queries
from fairseq_parp.grounded.code_use import CodeUse, code_use
from fairseq_parp.grounded.purity import CodeLabels
from fairseq_parp.retrieval.embedding import Embedded, Used
from fairseq_parp.retrieval.results import Recall, measure

LISTED = 20
"""Codes that a table lists."""


class CodesFound(NamedTuple):
    """How a split uses the codes.

    Attributes:
        audio: (V,) frames of speech, or words of texts, next to each code, over all captions.
        image: (V,) regions next to each code, over all pictures.
        use: counts of the uses.
        recall: recall by the usage of codes alone, without embeddings.
        words: labels of the captions' features, where they are known.
        objects: labels of the regions, where they are known.
    """

    audio: Tensor
    image: Tensor
    use: CodeUse
    recall: list[Recall]
    words: CodeLabels | None = None
    objects: CodeLabels | None = None

    @property
    def alike(self) -> tuple[int, int]:
        """How many codes have the same word as object, of how many that have both."""
        pairs = [(self.words.best(code), self.objects.best(code)) for code in range(len(self.audio))
                 if self.words is not None and self.objects is not None]  # fmt: skip
        both = [(word[0].casefold(), shown[0].casefold()) for word, shown in pairs if word and shown]
        return sum(word == shown for word, shown in both), len(both)

    def busiest(self) -> list[int]:
        """Return the codes with the largest share of uses, both modalities weighted equally."""
        shares = self.audio / self.audio.sum() + self.image / self.image.sum()
        order = shares.argsort(descending=True, stable=True).tolist()
        return [code for code in order if shares[code] > 0][:LISTED]


def measure_codes(embedded: Embedded) -> CodesFound:
    """Count the uses of each code, and rank captions and pictures by code matching alone.

    Args:
        embedded: a split, by a model with seeded codes.
    """
    audio, image = _uses(embedded.caption_codes), _uses(embedded.image_codes)
    spoken, seen = (
        torch.stack([each.usage for each in side]).double() for side in (embedded.caption_codes, embedded.image_codes)
    )
    _, recall = measure(embedded._replace(captions=queries(spoken), images=keys(seen)))
    return CodesFound(audio, image, code_use(audio, image), recall)


def draw(found: CodesFound, path: str | Path, captions: str = "speech") -> None:
    """Draw each code's share of both modalities' uses, the codes that most differ at the ends.

    Args:
        found: the uses.
        path: path of the PNG to write.
        captions: the captions' modality.
    """
    shares = [uses.double() / uses.sum() for uses in (found.audio, found.image)]
    used = (shares[0] + shares[1]).nonzero()[:, 0]
    order = used[(shares[0] - shares[1])[used].argsort(descending=True)]
    figure = blank(8, 3)
    axes = figure.add_subplot()
    axes.bar(range(len(order)), 100 * shares[0][order], 1, label=captions)
    axes.bar(range(len(order)), -100 * shares[1][order], 1, label="pictures")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel(f"{found.use.used} codes with a use, {found.use.shared} shared")
    axes.set_ylabel("% of a modality's uses")
    axes.legend()
    write(figure, path)


def _uses(items: Sequence[Used]) -> Tensor:
    return torch.bincount(torch.cat([each.nearest for each in items]), minlength=len(items[0].usage))
