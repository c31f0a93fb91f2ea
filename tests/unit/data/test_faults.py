"""Finding faults: masks, one a fault, and nothing decided."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.data.faults import KINDS, first_kinds, order_faults, value_faults


def columns(**changed: object) -> dict[str, np.ndarray]:
    """Three sound bars, but for `changed`."""
    base: dict[str, object] = {"open": [10.0] * 3, "high": [12.0] * 3, "low": [9.0] * 3, "close": [11.0] * 3}
    return {name: np.array(values, dtype=float) for name, values in (base | {"volume": [1.0] * 3} | changed).items()}


def found(**changed: object) -> dict[str, list[int]]:
    """By kind, the rows that have it."""
    kinds = first_kinds(list(value_faults(columns(**changed))), 3)
    return {kind: np.flatnonzero(rows).tolist() for kind, rows in kinds.items()}


def test_sound_rows_have_no_fault():
    """Negative prices, equal prices and no volume are none."""
    assert found() == {}
    assert found(open=[-3] * 3, high=[-1] * 3, low=[-4] * 3, close=[-2] * 3, volume=[0] * 3) == {}


def test_each_kind_has_its_rows():
    """A row counts once, at the first kind of fault that it has."""
    assert found(close=[11, np.nan, np.inf]) == {"not_finite": [1, 2]}
    assert found(high=[12, 8, 12]) == {"bad_ohlc": [1]}
    assert found(volume=[1, -1, np.nan]) == {"not_finite": [2], "bad_volume": [1]}
    assert found(open=[np.nan, 10, 10], volume=[-1, 1, 1]) == {"not_finite": [0]}


def test_order_is_judged_against_the_latest_stamp_before():
    """Those that go back behind it are out of order, those that repeat it are duplicates."""
    back, twice = order_faults(np.array([1, 3, 2, 3, 2, 4, 4]))
    assert np.flatnonzero(back.rows).tolist() == [2, 4]
    assert np.flatnonzero(twice.rows).tolist() == [3, 6]


@given(st.lists(st.integers(-5, 5), max_size=30))
def test_what_has_no_order_fault_rises(ticks: list[int]):
    """The rows that are left rise strictly, and as many stamps are kept as could be without looking ahead."""
    given_ = np.array(ticks, dtype=np.int64)
    faulty = np.zeros(len(ticks), dtype=bool)
    for fault in order_faults(given_):
        assert fault.kind in KINDS
        faulty |= fault.rows
    kept = given_[~faulty]
    assert (np.diff(kept) > 0).all()
    assert kept.tolist() == sorted({max(ticks[: i + 1]) for i in range(len(ticks))})
