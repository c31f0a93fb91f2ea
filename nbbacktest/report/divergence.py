"""Two runs side by side: the first difference and its reason, statistics, both equities; as text, as HTML, as a figure."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.formats import timestamp
from nbbacktest.report.analysis import RunAnalysis
from nbbacktest.report.parting import ComparedRun, Parting, causes, compare, other_bars, told_by_hand
from nbbacktest.report.plotting import (
    EQUITY,
    GRID,
    INK,
    LIMIT,
    LOSS,
    axis,
    breaks,
    choose,
    extremes,
    local_time,
    moments,
)
from nbbacktest.report.table import GROUPS, written

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_SHOWN = ("final_equity", "return", "sharpe", "max_drawdown", "trades", "win_rate", "fees")
_LABELS = {name: label for group in GROUPS.values() for name, (label, _) in group.items()}
_COUNTED = {"fill": "Fills", "order": "Events of orders", "flow": "Cash flows", "log": "Lines of the log"}


class Divergence:
    """The difference of two runs, as `nbbacktest.divergence` returns it: its place and its causes.

    It prints as text and shows as a table. The runs may go on: this is their state when it was made.

    Attributes
    ----------
    names : (str, str)
        The names of the left and the right run: ``"run"`` and ``"fork"``, or ``"left"`` and ``"right"``.
    first : Parting or None
        The first difference: its time, its kind (``"fill"``, ``"order"``, ``"flow"`` or ``"log"``), and what happened in
        the left and in the right run, None for nothing; None if there is no difference.
    causes : tuple of str
        The differences in the making of the runs: the fork's change, inputs by hand, strategies, keys of the config.
    counts : dict
        By kind the number of what both runs have, only the left one, and only the right one.
    notes : tuple of str
        The parts that can't be compared.
    """

    def __init__(self, left: ComparedRun, right: ComparedRun) -> None:
        self.names = left.name, right.name
        self._runs = left, right
        self._analyses = RunAnalysis(left.record), RunAnalysis(right.record)
        self.first, self._instant, counts = compare(left, right)
        self.counts = dict(counts)
        self.causes = tuple(causes(left, right))
        self.notes = (*other_bars(left, right), *told_by_hand(left), *told_by_hand(right), *self._not_compared())
        self._stats = [run.stats for run in self._analyses]  # now: a run that goes on changes its orders

    def _not_compared(self) -> list[str]:
        left, right = self._runs
        if left.end == right.end:
            return []
        first = min(self._runs, key=lambda run: run.end)
        return [f"compared up to {self._until}, where {first.called} {'ends' if first.is_over else 'stands'}"]

    @property
    def _until(self) -> str:
        end = min(run.end for run in self._runs)
        return timestamp(self._runs[0].record.stamps.instant(end)) if end else "the start"

    def __bool__(self) -> bool:
        """True if the runs differ."""
        return self.first is not None

    @property
    def sentence(self) -> str:
        """The first difference and its reason, in a sentence."""
        cause = self.causes[0] if self.causes else ""
        first = self.first
        if first is None:
            text = f"no difference up to {self._until}"
        elif first.left is not None and first.right is not None:
            text = f"first difference at {self._clock(first)}: {first.left} in {self._runs[0].called}, {first.right} in {self._runs[1].called}"
        else:
            name = self._runs[first.left is None].called
            text = f"first difference at {self._clock(first)}: {first.left or first.right} only in {name}"
        return f"{cause}; {text}" if cause else text

    def _clock(self, first: Parting) -> str:
        """The time of the first difference, without its date if the fork's place has the same."""
        text = timestamp(first.time, zone=False)
        days = [run.fork.time.date() for run in self._runs if run.fork is not None and run.fork.time is not None]
        return text[11:] if first.time.date() in days and len(text) > 11 else text

    @property
    def equity(self) -> pd.DataFrame:
        """The equity of both, a column each, by instant; of runs with other instants the newest value at each."""
        import pandas as pd

        parts = [run.equity.rename(name) for run, name in zip(self._analyses, self.names, strict=True)]
        if len({str(getattr(part.index, "tz", None)) for part in parts}) > 1:
            for part, run in zip(parts, self._runs, strict=True):
                part.index = pd.DatetimeIndex(run.record.instants.view("datetime64[ns]"), name="time").tz_localize(
                    "UTC"
                )
        left, right = parts
        if left.index.equals(right.index):
            return pd.DataFrame({left.name: left, right.name: right})
        frame = pd.concat(parts, axis=1, sort=True)
        for part in parts:
            last = part.index[-1] if len(part) else None
            column = frame[part.name].ffill()
            frame[part.name] = column if last is None else column.where(frame.index <= last)
        return frame

    @property
    def stats(self) -> pd.DataFrame:
        """The main statistics of both, a row each, and `difference`, the right one less the left one; fractions, not percent."""
        import pandas as pd

        rows = {name: [float(stats[name]) for stats in self._stats] for name in _SHOWN}
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=list(self.names))
        frame["difference"] = frame[self.names[1]] - frame[self.names[0]]
        return frame

    def _rows(self) -> list[tuple[str, str, str, str]]:
        rows = []
        for name in _SHOWN:
            values = [stats[name] for stats in self._stats]
            change = float(values[1]) - float(values[0])
            if math.isnan(change):
                text = ""
            elif not change:
                text = "0"
            else:
                text = ("+" if change > 0 else "-") + written(name, type(values[1])(abs(values[1] - values[0])))
            rows.append((_LABELS[name], written(name, values[0]), written(name, values[1]), text))
        for kind, label in _COUNTED.items():
            same, left, right = self.counts[kind]
            if same + left + right:
                text = "the same" if not left + right else f"{same:,} the same"
                rows.append((label, f"{same + left:,}", f"{same + right:,}", text))
        return rows

    def __repr__(self) -> str:
        rows = [("", *self.names, "difference"), *self._rows()]
        widths = [max(len(row[place]) for row in rows) for place in range(4)]
        lines = [
            f"  {row[0]:<{widths[0]}}  " + "  ".join(f"{row[place]:>{widths[place]}}" for place in (1, 2, 3))
            for row in rows
        ]
        more = [f"  also: {cause}" for cause in self.causes[1:]] + [f"  note: {note}" for note in self.notes]
        return "\n".join([_sentence(self.sentence), *more, *lines])

    def _repr_html_(self) -> str:
        head = "".join(f'<th style="text-align:right">{escape(name)}</th>' for name in (*self.names, "difference"))
        cell = '<td style="text-align:right;font-variant-numeric:tabular-nums">'
        body = "".join(
            f'<tr><td style="text-align:left">{escape(row[0])}</td>'
            + "".join(f"{cell}{escape(part)}</td>" for part in row[1:])
            + "</tr>"
            for row in self._rows()
        )
        more = [*(f"also: {cause}" for cause in self.causes[1:]), *self.notes]
        notes = "".join(f'<div style="opacity:0.75">{escape(note)}</div>' for note in more)
        return (
            f'<div class="nbbt-divergence"><div style="font-weight:600">{escape(_sentence(self.sentence))}</div>{notes}'
            f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    def plot(self) -> go.Figure:
        """Both equities, and the right one less the left one below; the fork's place and the first difference are marked."""
        import plotly.graph_objects as go

        figure = go.Figure()
        frame = self.equity
        styles = ((EQUITY, "solid"), (LIMIT, "dash" if self._are_close(frame) else "solid"))
        for run, analysis, name, (colour, dash) in zip(self._runs, self._analyses, self.names, styles, strict=True):
            values = analysis.equity_values
            rows = extremes(values)
            figure.add_trace(
                go.Scatter(
                    x=axis(moments(run.record, run.record.instants[rows])), y=values[rows], name=escape(name), mode="lines",
                    line={"color": colour, "width": 1.5, "dash": dash}, hovertemplate="%{y:,.2f}",
                )
            )  # fmt: skip
        instants, gap = self._gap()
        rows = extremes(gap)
        figure.add_trace(
            go.Scatter(
                x=axis(moments(self._runs[0].record, instants[rows])), y=gap[rows], name=f"{self.names[1]} less {self.names[0]}",
                mode="lines", yaxis="y2", showlegend=False, line={"color": LOSS, "width": 1}, fill="tozeroy",
                fillcolor="rgba(226,103,74,0.25)", hovertemplate="%{y:+,.2f}",
            )
        )  # fmt: skip
        for moment, text, side in self._marks():
            place = float(axis(moments(self._runs[0].record, np.array([moment], dtype=np.int64)))[0])
            figure.add_shape(
                type="line",
                x0=place,
                x1=place,
                y0=0,
                y1=1,
                yref="paper",
                line={"color": INK, "width": 1, "dash": "dot"},
            )
            figure.add_annotation(
                x=place,
                y=0.32,
                yref="paper",
                text=text,
                showarrow=False,
                xanchor=side,
                yanchor="middle",
                font={"color": INK, "size": 11},
            )
        figure.update_layout(self._layout())
        return figure

    def _are_close(self, frame: pd.DataFrame) -> bool:
        """True if one curve would hide the other."""
        gap = (frame.iloc[:, 1] - frame.iloc[:, 0]).abs().max()
        spread = float(frame.max().max() - frame.min().min())
        return not gap > 0.02 * spread

    def _gap(self) -> tuple[Any, Any]:
        """The instants of both up to the last that both have completed, and the right equity less the left one."""
        records = [run.record for run in self._runs]
        end = min(run.end for run in self._runs)
        instants = np.union1d(records[0].instants, records[1].instants)
        begin = max((int(record.instants[0]) for record in records if len(record.instants)), default=0)
        instants = (
            instants[(instants <= end) & (instants >= begin)] if all(len(r.instants) for r in records) else instants[:0]
        )
        at = [
            analysis.equity_values[np.searchsorted(record.instants, instants, side="right") - 1]
            for record, analysis in zip(records, self._analyses, strict=True)
        ]
        return instants, at[1] - at[0]

    def _marks(self) -> list[tuple[int, str, str]]:
        marks = []
        for run in self._runs:
            if run.fork is not None and run.fork.place.cursor and len(run.record.instants):
                row = min(run.fork.place.cursor, len(run.record.instants)) - 1
                marks.append((int(run.record.instants[row]), "fork", "right"))
        if self.first is not None:
            marks.append((self._instant, "first difference", "left"))
        return marks

    def _layout(self) -> dict[str, Any]:
        record = self._runs[0].record
        lines = {"gridcolor": GRID, "zeroline": False, "automargin": True, "tickformat": ",~f"}
        local = [
            local_time(bars_of.stamps, bars.time[bars_of.first.get(symbol, 0) :])
            for bars_of in [record]
            for symbol, bars in record.bars.items()
        ]
        base = next((bars.interval for bars in record.bars.values()), None)
        closed = breaks(base, local, choose(local, base)) if base is not None else []
        dates = record.stamps.dates or record.daily
        text = escape(_sentence(self.sentence))
        return {
            "title": {
                "text": f"{escape(record.name)}: {escape(self.names[0])} and {escape(self.names[1])}", "x": 0, "xref": "paper",
                "xanchor": "left", "y": 0.97, "yanchor": "top", "yref": "container",
                "subtitle": {"text": "<br>".join(_wrapped(text)), "font": {"size": 12}},
            },
            "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "font": {"color": INK}, "height": 480,
            "margin": {"l": 16, "r": 16, "t": 104, "b": 16}, "hovermode": "x unified", "hoversubplots": "axis",
            "hoverlabel": {"namelength": -1, "bgcolor": "#262c34", "bordercolor": INK, "font": {"color": "#eef1f5"}},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": INK, "activecolor": EQUITY, "remove": ["lasso", "select"]},
            "legend": {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.06, "yanchor": "bottom"},
            "xaxis": {
                "gridcolor": GRID, "zeroline": False, "automargin": True, "type": "date", "anchor": "y2", "showspikes": False,
                "title": {"text": f"{'Session date' if dates else 'Time'} ({record.stamps.timezone})"},
                "hoverformat": "%a %Y-%m-%d" if dates else "%a %Y-%m-%d %H:%M", "rangebreaks": closed,
            },
            "yaxis": {**lines, "domain": [0.36, 1.0], "title": {"text": "Equity"}},
            "yaxis2": {
                **lines, "domain": [0.0, 0.28], "zeroline": True, "zerolinecolor": INK, "nticks": 4,
                "title": {"text": "Difference"},
            },
        }  # fmt: skip


def _sentence(text: str) -> str:
    begins = ("forked", "no difference", "first difference")
    return text[:1].upper() + text[1:] if text.startswith(begins) else text


def _wrapped(text: str, width: int = 95) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width)[:3]
