"""Two engines' fills side by side."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from benchmarks.parity.tape import Outcome

CENT = 0.01
_EXACT = 1e-9  # relative; an engine's own arithmetic rounds


@dataclass(frozen=True)
class Verdict:
    """How two outcomes compare.

    Attributes
    ----------
    same
        How many of the peer's fills are ours too, in bar, symbol, side, size and price.
    apart
        Our final equity less the peer's.
    first
        The first fill that only one of them has, as text; "" where there is none.
    """

    same: int
    apart: float
    first: str

    @property
    def equal(self) -> bool:
        """Fill for fill, and to the cent."""
        return not self.first and abs(self.apart) < CENT


def compare(ours: Outcome, peer: Outcome) -> Verdict:
    """How many fills are the same, and what differs first. What fills at one price of one bar counts as one fill."""
    mine, theirs = _summed(ours), _summed(peer)
    only = [
        (key, mine.get(key, 0.0), theirs.get(key, 0.0))
        for key in sorted(mine.keys() | theirs.keys())
        if abs(mine.get(key, 0.0) - theirs.get(key, 0.0)) > _EXACT * max(1.0, abs(mine.get(key, 0.0)))
    ]
    first = ""
    if only:
        (stamp, symbol, side, price), size, other = only[0]
        first = f"{stamp} {symbol} {side} at {price:g}: ours {size:g}, theirs {other:g}"
    return Verdict(len(theirs) - sum(1 for _, _, other in only if other), ours.equity - peer.equity, first)


def _summed(outcome: Outcome) -> dict[tuple[str, str, str, float], float]:
    sizes: dict[tuple[str, str, str, float], float] = defaultdict(float)
    for stamp, symbol, size, price in outcome.fills:
        sizes[stamp, symbol, "buy" if size > 0 else "sell", round(price, 7)] += abs(size)
    return dict(sizes)
