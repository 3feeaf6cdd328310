"""ABX: how well the layers of an encoder separate phones, by pairs of tokens in the same context.

Items name tokens within audio files. Features are the outputs of each layer for them. Distances warp two tokens onto
each other in time. Scores are averages of errors. Only ``features`` and ``alignment`` import fairseq.
"""

from fairseq_parp.abx.scores import Scores, abx
from fairseq_parp.manifests.items import Item, read_items, write_items

__all__ = ["Item", "Scores", "abx", "read_items", "write_items"]
