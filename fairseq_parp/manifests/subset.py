"""Chooses speakers and utterances at random, the same ones on every machine and every Python.

Names are ordered by a hash of seed and name, and the first ones are chosen. A choice therefore depends on the seed and
the names alone, and a smaller subset lies inside a larger one of the same seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """Return names in an order that depends on the seed and on the names alone.

    >>> shuffled("abcd", seed=1) == shuffled("dcba", seed=1)
    True
    """
    return sorted(names, key=lambda name: (sha256(f"{seed}\t{name}".encode()).digest(), name))


def within(lengths: Mapping[str, int], most: int, seed: int) -> set[str]:
    """Return random names whose lengths add up to ``most`` at the most.

    They are taken in shuffled order up to the first that no longer fits: filling the rest with shorter
    ones would favour short utterances.
    """
    chosen: set[str] = set()
    for name in shuffled(lengths, seed):
        most -= lengths[name]
        if most < 0:
            break
        chosen.add(name)
    return chosen
