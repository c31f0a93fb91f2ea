"""The labels and units of all statistics, and `Stats`: a mapping that prints as a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import Any

from nbbacktest.core.formats import money, percent, span, timestamp

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Run": {
        "start": ("Start", "time"),
        "end": ("End", "time"),
        "bars": ("Bars", "count"),
        "exposure": ("Exposure", "percent"),
        "turnover": ("Turnover", "times"),
        "fees": ("Fees", "money"),
    },
    "Return and risk": {
        "final_equity": ("Final equity", "money"),
        "return": ("Return", "percent"),
        "cagr": ("CAGR", "percent"),
        "volatility": ("Volatility", "percent"),
        "sharpe": ("Sharpe", "number"),
        "sortino": ("Sortino", "number"),
        "calmar": ("Calmar", "number"),
        "max_drawdown": ("Max drawdown", "percent"),
        "max_drawdown_duration": ("Longest drawdown", "duration"),
    },
    "Closed trades": {
        "trades": ("Trades", "count"),
        "win_rate": ("Win rate", "percent"),
        "profit_factor": ("Profit factor", "number"),
        "expectancy": ("Expectancy", "money"),
        "sqn": ("SQN", "number"),
        "best_trade": ("Best trade", "percent"),
        "worst_trade": ("Worst trade", "percent"),
        "average_trade": ("Average trade", "percent"),
        "average_mae": ("Average MAE", "percent"),
        "average_mfe": ("Average MFE", "percent"),
    },
}
"""For each heading, the labels of its statistics and the kinds of their values."""

AGAINST: dict[str, dict[str, tuple[str, str]]] = {
    "Against the benchmark": {
        "days": ("Common days", "count"),
        "alpha": ("Alpha a year", "percent"),
        "beta": ("Beta", "number"),
        "correlation": ("Correlation", "number"),
        "information_ratio": ("Information ratio", "number"),
        "tracking_error": ("Tracking error", "percent"),
        "excess_return": ("Excess return", "percent"),
    },
    "The benchmark": {
        "benchmark_return": ("Return", "percent"),
        "benchmark_cagr": ("CAGR", "percent"),
        "benchmark_volatility": ("Volatility", "percent"),
        "benchmark_sharpe": ("Sharpe", "number"),
        "benchmark_max_drawdown": ("Max drawdown", "percent"),
    },
}
"""The labels and kinds of a comparison's statistics, by heading."""

_WRITERS: dict[str, Callable[[Any], str]] = {
    "time": timestamp,
    "duration": span,
    "count": "{:,}".format,
    "money": money,
    "number": money,
    "percent": percent,
    "times": lambda value: f"{money(value)} x" if math.isfinite(value) else money(value),
}
"""The function that writes each kind of value."""

_KINDS = {name: kind for group in (*GROUPS.values(), *AGAINST.values()) for name, (_, kind) in group.items()}


class Stats(Mapping[str, Any]):
    """A run's statistics by name; read only. Prints as a table, in a notebook too.

    `nbbacktest.trading.stats` defines each. Fractions, not percent; NaN if one isn't defined.
    """

    __slots__ = ("_groups", "_reasons", "_values")

    def __init__(
        self,
        values: Mapping[str, Any],
        groups: Mapping[str, Mapping[str, tuple[str, str]]] = GROUPS,
        reasons: Callable[[], dict[str, str]] = dict,
    ) -> None:
        self._values = dict(values)
        self._groups = groups
        self._reasons = reasons

    @property
    def reasons(self) -> dict[str, str]:
        """For each statistic that is NaN, a sentence that says why."""
        return self._reasons()

    @property
    def groups(self) -> dict[str, list[tuple[str, str]]]:
        """The labels and written values of the statistics, by heading."""
        return {
            heading: [(label, written(name, self[name])) for name, (label, _) in rows.items()]
            for heading, rows in self._groups.items()
        }

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        lines = []
        for heading, rows in self.groups.items():
            lines += ["", heading, *(f"  {label:<18}{text:>26}" for label, text in rows)]
        return "\n".join(lines[1:])

    def _repr_html_(self) -> str:
        cells = "".join(
            f'<table style="display:inline-table;vertical-align:top;margin:0 2em 1em 0">'
            f'<thead><tr><th colspan="2" style="text-align:left">{escape(heading)}</th></tr></thead><tbody>'
            + "".join(
                f'<tr><td style="text-align:left">{escape(label)}</td>'
                f'<td style="text-align:right;font-variant-numeric:tabular-nums"{self._title(name)}>'
                f"{escape(written(name, self[name]))}</td></tr>"
                for name, (label, _) in rows.items()
            )
            + "</tbody></table>"
            for heading, rows in self._groups.items()
        )
        return f"<div>{cells}</div>"

    def _title(self, name: str) -> str:
        """The reason why the value is missing, as the cell's tooltip."""
        value = self[name]
        missing = isinstance(value, float) and math.isnan(value)
        return f' title="{escape(self.reasons.get(name, ""))}"' if missing else ""


def written(name: str, value: Any) -> str:
    """The statistic `name` with its unit."""
    return _WRITERS[_KINDS[name]](value)
