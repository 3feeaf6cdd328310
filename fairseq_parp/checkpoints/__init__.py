"""Reads fairseq checkpoints, old and new, without running code from them.

Data flows one way: archives (is the file whole?) -> pickles (does it name harmless classes only?) -> torch ->
contents (is it a checkpoint?).
"""

from fairseq_parp.checkpoints.reading import load, load_into, read, require_whole

__all__ = ["load", "load_into", "read", "require_whole"]
