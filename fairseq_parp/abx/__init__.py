"""ABX: how well the layers of an encoder separate phones, by pairs of tokens in the same context.

Items name tokens within audio files; features are what each layer gives for them; distances warp two tokens onto each
other in time; scores are averages of errors. Nothing here but ``features`` and ``alignment`` knows fairseq.
"""

from fairseq_parp.abx.scores import Scores, abx
from fairseq_parp.manifests.items import Item, read_items, write_items

__all__ = ["Item", "Scores", "abx", "read_items", "write_items"]
