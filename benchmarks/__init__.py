"""``fairseq-parp bench``: how fast this is beside others, as ratios that are measured side by side.

A module of rows has ``jobs(size) -> Iterator[Job]``; a new one is added to :data:`benchmarks.run.MODULES`.
"""
