"""``fairseq-parp bench``: speed and memory beside other implementations, as ratios that are measured side by side.

A module of rows has ``jobs(size) -> Iterator[Job]``; a new one is added to :data:`benchmarks.run.MODULES`.
"""
