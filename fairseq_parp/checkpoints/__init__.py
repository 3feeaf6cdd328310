"""fairseq checkpoints, old and new, read without running what is inside them.

Data flows one way: archives (is the file whole?) -> pickles (what does it ask for?) -> torch -> contents (is it a
checkpoint?).
"""

from fairseq_parp.checkpoints.reading import load, load_into, read, require_whole

__all__ = ["load", "load_into", "read", "require_whole"]
