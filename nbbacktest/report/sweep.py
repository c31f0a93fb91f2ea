"""The result of a sweep: a table with a row a point, the best point, a heat map, and a full run of any point."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.errors import ConfigError, DataError, Problem, nearest
from nbbacktest.core.formats import MISSING, said, shown, spoken
from nbbacktest.core.records import Float64
from nbbacktest.report.result import Result
from nbbacktest.report.table import GROUPS, written

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

STATISTICS = tuple(name for group in GROUPS.values() for name in group)
_TIMES = ("start", "end")

Score = str | Callable[[Mapping[str, Any]], float]

Point = dict[str, Any]

_WRITTEN_CELLS = 150
"""The most cells of a heat map that have their values written in them."""


class SweepResult:
    """The points of a sweep with their statistics.

    Attributes
    ----------
    parameters : tuple of str
        The grid's, in its order.
    total : int
        The number of points to run; more than the rows if the sweep was interrupted.
    strategy : str
        The name of its class.

    Examples
    --------
    ::

        found = nb.sweep(frame, Cross, {"fast": range(5, 30, 5), "slow": [50, 100]})
        found.best                       # {"fast": 10, "slow": 50}
        found.top(5, "return")
        result = found.run()             # of the best point
    """

    def __init__(
        self,
        rows: Sequence[tuple[Point, Mapping[str, Any]]],
        parameters: Sequence[str],
        maximize: Score,
        run: Callable[[Point], Result],
        *,
        total: int,
        strategy: str,
    ) -> None:
        self.parameters = tuple(parameters)
        self.total = total
        self.strategy = strategy
        self._points = [dict(point) for point, _ in rows]
        self._rows = [dict(row) for _, row in rows]
        self._maximize = maximize
        self._run = run

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def complete(self) -> bool:
        """True if every point was run."""
        return len(self) == self.total

    @cached_property
    def _frame(self) -> pd.DataFrame:
        import pandas as pd

        columns: dict[str, list[Any]] = {
            self._column(name): [point[name] for point in self._points] for name in self.parameters
        }
        for name in STATISTICS:
            columns[name] = [row.get(name, _undefined(name)) for row in self._rows]
        errors = pd.Series([row["error"] for row in self._rows], dtype=object)  # as text, pandas would make NaN of None
        return pd.DataFrame({**columns, "error": errors})

    @property
    def frame(self) -> pd.DataFrame:
        """A row a point, in the grid's order: parameters, then `Result.stats`, then `error`, None if it ran to its end.

        A parameter that is called as a statistic is, or as `error`, has ``parameter.`` before its name.
        """
        return self._frame.copy()

    @property
    def failed(self) -> pd.DataFrame:
        """The points that failed: parameters and `error`."""
        frame = self._frame
        return frame.loc[frame["error"].notna(), [*map(self._column, self.parameters), "error"]].copy()

    @property
    def best(self) -> Point:
        """The parameters of the best point by the sweep's measure (`maximize`), the first one of equals.

        Raises
        ------
        DataError
            If that is defined for no point.
        ConfigError
            If it is a function that raised, or gave no number.
        """
        return dict(self._points[self._best_row()])

    def top(self, n: int = 10, by: Score | None = None) -> pd.DataFrame:
        """The `n` best rows of `frame`, best first; points without that statistic are left out.

        Parameters
        ----------
        by
            A statistic, or a function of a row; None: the sweep's measure.
        """
        scores = self.scores(by)
        order = np.argsort(-scores, kind="stable")
        return self._frame.iloc[[row for row in order.tolist() if not np.isnan(scores[row])][:n]].copy()

    def run(self, point: int | Mapping[str, Any] | None = None) -> Result:
        """Run one point again, to its whole `Result`.

        Parameters
        ----------
        point
            A row's number in `frame`, or values of parameters; others are those of the best point. None: the best point.

        Raises
        ------
        DataError
            If there is no such row.
        ParameterError
            For values that aren't the strategy's.
        """
        if point is None:
            return self._run(self.best)
        if isinstance(point, Mapping):
            named = dict(point)
            return self._run(named if set(named) >= set(self.parameters) else {**self.best, **named})
        if not isinstance(point, numbers.Integral) or isinstance(point, bool) or not 0 <= point < len(self):
            raise DataError(f"point {point!r} is none of this sweep's {len(self)} rows; give 0 to {len(self) - 1}")
        return self._run(dict(self._points[int(point)]))

    def heatmap(
        self,
        x: str | None = None,
        y: str | None = None,
        statistic: str | None = None,
        *,
        fixed: Mapping[str, Any] | None = None,
    ) -> go.Figure:
        """A statistic over two parameters, as colours.

        Parameters
        ----------
        x, y
            Parameters; None takes the first two of the grid.
        statistic
            None takes the sweep's measure.
        fixed
            Values of other parameters, to look at these points alone. Of the others, each cell shows its best point, by
            the sweep's measure.

        Raises
        ------
        DataError
            For an unknown parameter, statistic or value; with fewer than two parameters.
        """
        free = [name for name in self.parameters if name not in (x, y, *(fixed or {}))]
        x = free.pop(0) if x is None and free else x
        y = free.pop(0) if y is None and free else y
        for name in (x, y, *(fixed or {})):
            if name not in self.parameters:
                cure = nearest(str(name), self.parameters) if name else "a heat map needs two"
                raise DataError(f"{name!r} is no parameter of this sweep; {cure}")
        if x is None or y is None or x == y or x in (fixed or {}) or y in (fixed or {}):
            raise DataError(f"a heat map needs two parameters that differ and aren't fixed; got x={x!r}, y={y!r}")
        shown = self.scores(statistic)
        order = shown if callable(self._maximize) and statistic is None else self.scores()
        chosen = [
            row
            for row, point in enumerate(self._points)
            if all(point[name] == value for name, value in (fixed or {}).items())
        ]
        if not chosen:
            raise DataError(f"no point of this sweep has {dict(fixed or {})}")
        title = statistic or (self._maximize if isinstance(self._maximize, str) else "score")
        return _heatmap(self._points, chosen, x, y, title, shown, order)

    def scores(self, by: Score | None = None) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """A statistic of each row as a number, durations in days; NaN if it isn't defined, or the point failed.

        Raises
        ------
        ConfigError
            For an unknown statistic, and if `by` is a function that raised, or gave no number.
        """
        where, by = ("maximize", self._maximize) if by is None else ("by", by)
        check_statistic(by)
        every = zip(self._rows, self._points, strict=True)
        values = [np.nan if row["error"] is not None else score_of(by, row, point, where) for row, point in every]
        return np.array(values, dtype=np.float64)

    def _best_row(self) -> int:
        scores = self.scores()
        if np.isnan(scores).all():
            name = self._maximize if isinstance(self._maximize, str) else "the score"
            failed = sum(row["error"] is not None for row in self._rows)
            raise DataError(
                f"no point is the best: {name} is defined for none of {len(self)}, of which {failed} failed; look at .frame, "
                "or ask top() for another statistic"
            )
        return int(np.nanargmax(scores))

    def _column(self, name: str) -> str:
        return f"parameter.{name}" if name in STATISTICS or name == "error" else name

    def __repr__(self) -> str:
        failed = sum(row["error"] is not None for row in self._rows)
        done = f"{len(self):,} points" if self.complete else f"{len(self):,} of {self.total:,} points, interrupted"
        parts = [f"SweepResult of {self.strategy}: {done}, {failed:,} failed"]
        try:
            row = self._best_row()
        except (DataError, ConfigError) as error:
            return f"{parts[0]}\n  {error}"
        name = self._maximize if isinstance(self._maximize, str) else "score"
        params = ", ".join(f"{key}={shown(value)}" for key, value in self._points[row].items())
        return f"{parts[0]}\n  best {name} {self.scores()[row]:.4g}: {params}"

    def _repr_html_(self) -> str:
        try:
            rows = self.top(10)
        except ConfigError:  # the text of the result stands above the table
            rows = self._frame.head(10).copy()
        for name in map(self._column, self.parameters):
            if rows[name].dtype == object:
                rows[name] = [spoken(value) for value in rows[name]]
        table: str = rows._repr_html_()  # type: ignore[operator]
        return f"<pre>{escape(repr(self))}</pre>{table}"


def _undefined(name: str) -> Any:
    import pandas as pd

    return pd.NaT if name in ("start", "end") or name.endswith("_duration") else np.nan


# -- scores -------------------------------------------------------------------------------------------------


def check_statistic(by: Any) -> None:
    """Refuse a `by` that can't order points: neither a function nor a statistic.

    Raises
    ------
    ConfigError
        It names the nearest statistic.
    """
    if callable(by):
        return
    if by not in STATISTICS or by in _TIMES:
        known = [name for name in STATISTICS if name not in _TIMES]
        raise ConfigError([Problem("statistic", by, f"no such number; {nearest(str(by), known)}")], "sweep()")


def score_of(by: Score, row: Mapping[str, Any], point: Mapping[str, Any], where: str = "maximize") -> float:
    """The score of one point as a number, durations in days; NaN if it isn't defined.

    Parameters
    ----------
    row
        Its statistics by name.
    point
        Its parameters.
    where
        The user's name for `by`, for messages.

    Raises
    ------
    ConfigError
        A function raised, or gave no number: it names the function, the point, and what was meant.
    """
    if isinstance(by, str):
        return _number(row[by])
    whole = {**row, **point}
    try:
        value = by(whole)
    except Exception as error:
        raise _refused(by, f"raised {said(error)}", error, whole, point, where) from error
    try:
        return _number(value)
    except (TypeError, ValueError) as error:
        raise _refused(by, f"gave {shown(value)}, which is no number,", error, whole, point, where) from error


def rehearse(by: Score, point: Mapping[str, Any]) -> None:
    """Call a score function with an invented row before any point is run, to find names that rows don't have.

    Raises
    ------
    ConfigError
        It asked for something that no row has.
    """
    if isinstance(by, str):
        return
    import pandas as pd

    row: dict[str, Any] = dict.fromkeys(STATISTICS, 1.0)
    row |= {name: pd.Timestamp("2024-01-02", tz="UTC") for name in _TIMES} | {"error": None}
    row |= {name: pd.Timedelta(days=1) for name in STATISTICS if name.endswith("_duration")}
    try:
        score_of(by, row, point)
    except ConfigError as error:
        cause = error.__cause__
        # Any other error may come from the invented values.
        if isinstance(cause, KeyError) and cause.args and cause.args[0] not in {**row, **point}:
            raise


def _number(value: Any) -> float:
    return float(value.total_seconds() / 86_400 if hasattr(value, "total_seconds") else value)


def _refused(
    by: Score, what: str, error: Exception, row: Mapping[str, Any], point: Mapping[str, Any], where: str
) -> ConfigError:
    named = ", ".join(f"{name}={shown(value)}" for name, value in point.items())
    key = error.args[0] if isinstance(error, KeyError) and error.args else None
    if key is not None and key not in row:
        cure = f"{nearest(str(key).lower().replace(' ', '_'), row)} A row has {', '.join(row)}"
    else:
        cure = f"return a number for every row, {math.nan} where there is none; the rows are in .frame"
    return ConfigError([Problem(where, by, f"{what} at point {named}; {cure}")], "sweep()")


# -- the heat map -------------------------------------------------------------------------------------------


def _heatmap(
    points: Sequence[Mapping[str, Any]],
    rows: Sequence[int],
    x: str,
    y: str,
    statistic: str,
    shown: Float64,
    order: Float64,
) -> go.Figure:
    """The figure: a cell for each pair of values, the best of its points by `order`; the best cell is framed.

    Parameters
    ----------
    points
        All of the sweep.
    rows
        The numbers of the rows to draw.
    shown, order
        By point, the value that is coloured, and the one that makes a point the best.
    """
    import plotly.graph_objects as go

    across, down = (_sorted([points[row][name] for row in rows]) for name in (x, y))
    best: dict[tuple[int, int], int] = {}
    for row in rows:
        cell = (_place(down, points[row][y]), _place(across, points[row][x]))
        if cell not in best or np.nan_to_num(order[row], nan=-np.inf) > np.nan_to_num(order[best[cell]], nan=-np.inf):
            best[cell] = row
    values = np.full((len(down), len(across)), np.nan)
    texts = [["" for _ in across] for _ in down]
    hovers = [["not run" for _ in across] for _ in down]
    for (i, j), row in best.items():
        values[i, j] = shown[row]
        texts[i][j] = _text(statistic, shown[row])
        named = "<br>".join(f"{escape(str(key))} = {escape(_label(value))}" for key, value in points[row].items())
        hovers[i][j] = f"{named}<br><b>{escape(statistic)} {texts[i][j] or 'not defined'}</b>"
    low, high = _ends(values)
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=list(range(len(across))),
            y=list(range(len(down))),
            text=texts if values.size <= _WRITTEN_CELLS else None,
            texttemplate="%{text}" if values.size <= _WRITTEN_CELLS else None,
            customdata=hovers,
            hovertemplate="%{customdata}<extra></extra>",
            colorscale="RdBu" if low < 0 < high else "Viridis",
            zmin=-max(-low, high) if low < 0 < high else low,
            zmax=max(-low, high) if low < 0 < high else high,
            colorbar={"title": {"text": escape(statistic)}},
            xgap=1,
            ygap=1,
        )
    )
    if best and not np.isnan(order[list(best.values())]).all():
        i, j = max(best, key=lambda cell: np.nan_to_num(order[best[cell]], nan=-np.inf))
        figure.add_shape(
            type="rect", x0=j - 0.5, x1=j + 0.5, y0=i - 0.5, y1=i + 0.5, line={"color": "black", "width": 3}
        )
    hidden = [name for name in points[rows[0]] if name not in (x, y)]
    free = [name for name in hidden if len(_sorted([points[row][name] for row in rows])) > 1]
    below = f", the best over {', '.join(free)}" if free else ""
    figure.update_layout(
        title={"text": escape(f"{statistic}{below}")},
        template="plotly_white",
        width=max(480, min(1100, 190 + 52 * len(across))),
        height=max(360, min(900, 150 + 34 * len(down))),
        margin={"l": 70, "r": 20, "t": 60, "b": 60},
    )
    for axis, name, labels in ((figure.update_xaxes, x, across), (figure.update_yaxes, y, down)):
        every = -(-len(labels) // 30)
        ticks = list(range(0, len(labels), every))
        axis(
            title={"text": escape(name)}, tickvals=ticks, ticktext=[escape(_label(labels[i])) for i in ticks],
            showgrid=False, zeroline=False,
        )  # fmt: skip
    return figure


def _sorted(values: Sequence[Any]) -> list[Any]:
    """Each value once: numbers and texts sorted, others in the order in which they came."""
    several: list[Any] = []
    for value in values:
        if value not in several:
            several.append(value)
    try:
        return sorted(several)
    except TypeError:
        return several


def _label(value: Any) -> str:
    return str(spoken(value))


def _place(values: Sequence[Any], value: Any) -> int:
    return values.index(value)


def _ends(values: Float64) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def _text(statistic: str, value: float) -> str:
    if np.isnan(value):
        return ""
    if statistic == "max_drawdown_duration":
        return f"{value:.0f} d"
    if not any(statistic in group for group in GROUPS.values()):  # a function's
        return f"{value:.3g}"
    text = written(statistic, int(value) if float(value).is_integer() else value)
    return "" if text == MISSING else text
