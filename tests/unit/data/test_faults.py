"""Finding faults: masks, one a fault, and nothing decided."""

from __future__ import annotations

import numpy as np

from nbbacktest.data.frames import first_kinds, value_faults


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
