"""Orders that make no sense are refused, with the value and the cure."""

import math
from decimal import Decimal

import numpy as np
import pytest

from nbbacktest.core.enums import OrderType, Side
from nbbacktest.core.errors import OrderError
from nbbacktest.trading.orders.request import OrderRequest, read_request


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
        read_request(Side.BUY, size)


@pytest.mark.parametrize("level", [math.nan, -math.inf, "5", True])
@pytest.mark.parametrize("kind", ["limit", "stop", "touch"])
def test_bad_levels(kind, level):
    """A level is a finite number; the error says which one it was."""
    with pytest.raises(OrderError, match=f"{kind}="):
        read_request(Side.SELL, 1, **{kind: level})


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        ({"trail": 0}, "trail=0.*above 0; it is a distance"),
        ({"trail": "2"}, "trail='2'.*a share above 0% and below 100%"),
        ({"trail": "x%"}, "trail='x%'"),
        ({"trail": "100%"}, "below 100%"),
        (
            {"trail": 1.0, "stop": 5.0},
            r"buy\(stop=5.0, trail=1.0\): no order has these terms together; give one of: limit",
        ),
        ({"trail": "1%", "touch": 5.0}, r"buy\(touch=5.0, trail='1%'\): no order has these terms together"),
        ({"touch": 5.0, "stop": 6.0}, r"give one of: limit, stop, stop with limit, trail, touch, touch with limit, at"),
        ({"touch": 5.0, "stop": 6.0, "limit": 4}, r"buy\(limit=4.0, stop=6.0, touch=5.0\): no order has"),
        ({"touch": math.nan}, "touch=...\\) got nan"),
        ({"touch": "9"}, "touch=...\\) got '9'"),
        ({"at": "open", "touch": 5.0}, r"buy\(touch=5.0, at='open'\): no order has these terms together"),
        ({"tif": "ioc", "touch": 5.0}, "a market_if_touched waits by its nature"),
        ({"tif": "fok", "touch": 5.0, "limit": 5.0}, "a limit_if_touched waits by its nature"),
        ({"at": "dusk"}, r"at='dusk'\): known are: close, open"),
        ({"at": ["open"]}, r"at=\['open'\]\): did you mean 'open'"),
        ({"at": "open", "limit": 5.0}, r"buy\(limit=5.0, at='open'\): no order has these terms together"),
        ({"at": "close", "tif": "gtc", "until": "2024-01-05"}, "live for their session; leave tif out"),
        ({"at": "close", "tif": "ioc"}, "live for their session"),
        ({"tif": "dya"}, r"tif='dya'\) is no time in force; did you mean 'day'"),
        ({"tif": "gtd"}, "needs the time: until="),
        ({"tif": "day", "until": "2024-01-05"}, "until is for gtd; leave tif out"),
        ({"tif": "ioc", "stop": 5.0}, "a stop waits by its nature"),
        ({"tif": "fok", "trail": 5.0}, "a trailing_stop waits by its nature"),
        ({"reduce_only": 1}, "reduce_only=1.*give True or False"),
        ({"reduce_only": 1, "limit": 1.0}, "reduce_only=1.*give True or False"),
        ({"reduce_only": True, "stop_loss": 1.0}, "opens nothing that a stop_loss"),
        ({"stop_loss": math.nan}, "stop_loss=...\\) got nan"),
        ({"take_profit": "9"}, "take_profit=...\\) got '9'"),
    ],
)
def test_terms_that_make_no_sense(terms, says):
    """An unknown word, a distance of nothing, and terms that exclude each other are refused with the cure."""
    with pytest.raises(OrderError, match=says):
        read_request(Side.BUY, 1, **terms)


@pytest.mark.parametrize(
    ("terms", "kind", "tif"),
    [
        ({}, "market", "gtc"),
        ({"limit": 5}, "limit", "gtc"),
        ({"stop": 5, "tif": "day"}, "stop", "day"),
        ({"limit": 5, "stop": 6}, "stop_limit", "gtc"),
        ({"touch": 5, "tif": "day"}, "market_if_touched", "day"),
        ({"touch": 5, "limit": 6, "until": "2024-01-05"}, "limit_if_touched", "gtd"),
        ({"trail": 1.5}, "trailing_stop", "gtc"),
        ({"at": "open"}, "market_on_open", "day"),
        ({"at": "close", "tif": "day"}, "market_on_close", "day"),
        ({"limit": 5, "until": "2024-01-05"}, "limit", "gtd"),
        ({"tif": "fok"}, "market", "fok"),
    ],
)
def test_types(terms, kind, tif):
    """The terms say which type an order has, and how long it stays."""
    request = read_request(Side.SELL, 1, **terms)
    assert (request.type, request.tif) == (kind, tif)


def trail_of(trail):
    """A request's trail, and whether it is a fraction."""
    request = read_request(Side.SELL, 1, trail=trail)
    return request.trail, request.trail_is_fraction


def test_trail():
    """A trailing distance is a price, or a share in percent."""
    assert trail_of(1.5) == (1.5, False)
    assert trail_of(" 2% ") == (0.02, True)


def test_plain_numbers():
    """Numpy's numbers become plain floats, a negative level is allowed, and a tag becomes text."""
    request = read_request(Side.BUY, np.int64(3), limit=np.float64(-2.0), tag=7)
    assert request == OrderRequest(Side.BUY, 3.0, OrderType.LIMIT, -2.0, tag="7")
    assert type(request.size) is type(request.limit) is float
    assert read_request(Side.SELL, None, stop=5).type is OrderType.STOP
