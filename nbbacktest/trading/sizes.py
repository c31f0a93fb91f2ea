"""Sums of sizes: tells what is left of a position from the rounding of the arithmetic that led there.

Users write sizes in decimals, which floats are not: 0.1 + 0.2 - 0.3 leaves 5.6e-17. Such a residue is bounded by
what was really rounded: an ulp of each size that isn't whole, half of it for its decimal or its lot's and half for the product
with a number of lots; and what each addition lost, which is known exactly. Whole units lose nothing (up to 2**53), and
so none of them is ever taken for a residue.
"""

from __future__ import annotations

from math import ulp

_EXACT = 2.0**53


def add_sizes(held: float, signed: float, noise: float = 0.0) -> tuple[float, float]:
    """The position after `signed` units more, and by how much rounding may have moved it; a residue of it alone is no position.

    Parameters
    ----------
    noise
        The noise that this gave with `held`; 0 if one fill opened the position.

    Examples
    --------
    >>> held, noise = add_sizes(0.1, 0.2)
    >>> add_sizes(held, -0.3, noise)
    (0.0, 0.0)
    >>> add_sizes(1e12, -(1e12 - 1))
    (1.0, 0.0)
    """
    total = held + signed
    if not held or not total:
        return total, 0.0
    is_whole, adds_whole = not held % 1.0, not signed % 1.0
    if not (is_whole and adds_whole and -_EXACT <= total <= _EXACT):
        if not (noise or is_whole):
            noise = ulp(held)
        if not adds_whole:
            noise += ulp(signed)
        # Exact, by Knuth (1997), The Art of Computer Programming 2, 4.2.2, theorem B.
        part = total - held
        noise += abs((held - (total - part)) + (signed - part))
    return (total, noise) if abs(total) > noise else (0.0, 0.0)


def scaled(held: float, ratio: float, noise: float = 0.0) -> tuple[float, float]:
    """The position and its `noise` after a split into `ratio` new units for an old one."""
    total = held * ratio
    return total, (noise * ratio + ulp(total) if noise else 0.0)


def is_rounding(left: float, of: float) -> bool:
    """Whether `left` of a whole of `of` units is nothing but the rounding of a subtraction."""
    return left <= 0.0 or (left <= ulp(of) and not (left % 1.0 == 0.0 == of % 1.0))


class Tally:
    """A running sum of sizes.

    Attributes
    ----------
    units : float
        The position, negative if short.
    """

    __slots__ = ("_noise", "units")

    def __init__(self) -> None:
        self.units = self._noise = 0.0

    def add(self, signed: float) -> float:
        """Add `signed` units; returns the position after it."""
        self.units, self._noise = add_sizes(self.units, signed, self._noise)
        return self.units

    def split(self, ratio: float) -> float:
        """Split into `ratio` new units for an old one; returns the position after it."""
        self.units, self._noise = scaled(self.units, ratio, self._noise)
        return self.units
