"""Orders that make no sense are refused, with the value and the cure."""

import math
from decimal import Decimal

import numpy as np
import pytest

from nbbacktest.core.enums import OrderType, Side
from nbbacktest.core.errors import OrderError
from nbbacktest.trading.tickets import read_ticket


@pytest.mark.parametrize(
    ("size", "says"),
    [
        (0, "size=0.*above 0"), (-3, r"buy\(size=-3\).*use sell"), (math.nan, "got nan"), (math.inf, "got inf"),
        ("10", "got '10', a str"), (True, "got True, a bool"), (Decimal(1), "Decimal"),
    ],
)  # fmt: skip
def test_bad_sizes(size, says):
    """A size is a finite number above 0."""
    with pytest.raises(OrderError, match=says):
        read_ticket(Side.BUY, size)


@pytest.mark.parametrize("level", [math.nan, -math.inf, "5", True])
@pytest.mark.parametrize("kind", ["limit", "stop"])
def test_bad_levels(kind, level):
    """A level is a finite number; the error says which one it was."""
    with pytest.raises(OrderError, match=f"{kind}="):
        read_ticket(Side.SELL, 1, **{kind: level})


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        ({"trail": 1.0}, "trail is not offered yet; raise a stop order"),
        ({"stop_loss": 1.0}, "stop_loss is not offered yet; place a stop order"),
        ({"take_profit": 1.0}, "take_profit is not offered yet; place a limit order"),
        ({"limit": 1.0, "stop": 2.0}, "stop-limit orders are not offered yet"),
        ({"tif": "day"}, r"tif='day'\) is not offered yet"),
    ],
)
def test_not_offered_yet(terms, says):
    """What a later version will have is refused, and says what to use instead."""
    with pytest.raises(OrderError, match=says):
        read_ticket(Side.BUY, 1, **terms)


def test_plain_numbers():
    """Numpy's numbers become plain floats, a negative level is allowed, and a tag becomes text."""
    ticket = read_ticket(Side.BUY, np.int64(3), limit=np.float64(-2.0), tag=7)
    assert ticket == (Side.BUY, 3.0, OrderType.LIMIT, -2.0, None, "7")
    assert type(ticket.size) is type(ticket.limit) is float
    assert read_ticket(Side.SELL, None, stop=5).type is OrderType.STOP
