"""The number k of zeros for a sparsity: its only definition."""

from __future__ import annotations

from fractions import Fraction


def exact(sparsity: float | str | Fraction) -> Fraction:
    """Return the decimal number that was written, exactly: 0.1 is one tenth, not its binary neighbour.

    >>> exact(0.1)
    Fraction(1, 10)
    """
    return sparsity if isinstance(sparsity, Fraction) else Fraction(str(sparsity))


def zero_count(sparsity: float | str | Fraction, size: int) -> int:
    """Return k = floor(s N + 0.5), the number of zeros that sparsity ``s`` means among ``size`` weights.

    Halves round up. The arithmetic is exact, so that the count does not depend on the platform.

    >>> zero_count(0.5, 85_017_600), zero_count(0.25, 2), zero_count(0.7, 10)
    (42508800, 1, 7)
    """
    return int(exact(sparsity) * size + Fraction(1, 2))


def written_sparsity(zeros: int, size: int) -> str:
    """Return the shortest decimal that means ``zeros`` among ``size`` weights.

    >>> written_sparsity(42_508_800, 85_017_600), written_sparsity(42_508_801, 85_017_600)
    ('0.5', '0.50000001')
    """
    exactly = zeros / max(1, size)
    rounded = (f"{exactly:.{digits}f}" for digits in range(1, 18))
    return next((text for text in rounded if zero_count(text, size) == zeros), repr(exactly))
