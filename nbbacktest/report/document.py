"""A result as one JSON document: everything but the bars, with equity by day."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from nbbacktest.trading.equity import day_ends, local_days

if TYPE_CHECKING:
    import pandas as pd

    from nbbacktest.report.analysis import RunAnalysis


VERSION = "1.0"


def document(run: RunAnalysis) -> str:
    """The JSON text: strict JSON, NaN and missing values are null.

    Times are ISO 8601 with offset, session dates ``YYYY-MM-DD``, durations seconds.
    """
    # One value a day keeps the document small enough to read; `save` keeps them all.
    days = local_days(run.record)
    ends = day_ends(days)
    dates = days[ends].view("datetime64[D]").astype(str)
    content = {
        "name": run.record.name,
        "source": run.record.source,
        "synthetic": run.record.synthetic,
        "strategies": list(run.record.strategies),
        "fingerprint": run.fingerprint,
        "recipe": run.recipe,
        "inputs": _rows(run.inputs),
        "stats": dict(run.stats),
        "daily_equity": list(zip(dates.tolist(), run.equity_values[ends].tolist(), strict=True)),
        "trades": _rows(run.trades),
        "fills": _rows(run.fills),
        "orders": _rows(run.orders),
        "flows": _rows(run.flows),
        "log": _rows(run.log),
        "metrics": run.record.metrics,
        "config": run.record.config,
        "_metadata": {"version": VERSION},
    }
    return json.dumps(_plain(content), allow_nan=False, ensure_ascii=False)


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(frame.columns, row, strict=True)) for row in frame.itertuples(index=False, name=None)]


def _plain(value: Any) -> Any:
    """`value` made of dict, list, str, int, float, bool and None."""
    import pandas as pd

    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        # A lone surrogate can be in a Python text but not in a JSON file.
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is pd.NaT:
        return None
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d}" if value.tzinfo is None and value == value.normalize() else value.isoformat()
    if isinstance(value, pd.Timedelta):
        return value.total_seconds()
    return _plain(value.item()) if hasattr(value, "item") else str(value)
