"""A plotly figure that a thread may change while pages show it, and the chart library that pages draw it with.

Each change of a figure is a message with a number, and names the number before it. A page applies a message only if it
follows what the page has. Otherwise the page reports its number and is sent the whole figure.

A plain FigureWidget brings 5 MB of library each. `ChartLibrary` brings 1.4 MB once for a kernel.
"""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any

import anywidget
import numpy as np
import plotly
import plotly.graph_objects as go
import traitlets
from plotly.basedatatypes import Undefined
from plotly.serializers import custom_serializers

from nbbacktest.report.plotting import EQUITY, GRID, INK
from nbbacktest.widgets.page_bridge import STATIC, ReachableWidget, javascript

LIMIT_SECONDS = 1.5
"""Seconds to wait for the browser's acknowledgement: while a cell blocks the kernel, none arrives."""

Props = Mapping[str, Any]
"""Properties of a trace or of a layout, by their paths."""
_ITEM = re.compile(r"[.\[]\d")
"""In the path of a property: a list's item, as in shapes[0].x0. A page keeps lists whole."""
_EDGE = re.compile(r"^[xy]axis\d*\.range(\[|$)")
"""The path of an axis's range, or of an edge of it."""

_NONE = np.empty(0, dtype=np.float64)
EMPTY: Props = {"x": _NONE, "y": _NONE, "visible": False}
"""The properties of a trace that shows nothing."""

AXIS: dict[str, Any] = {
    "gridcolor": GRID,
    "zeroline": False,
    "automargin": True,
    "showspikes": False,
    "visible": False,
}
"""The properties that all axes begin with."""

LIBRARY_KEY = f"plotly {plotly.__version__}"
"""The library's version: panels of two kernels may share a page."""


@dataclass(frozen=True, slots=True)
class FigureProps:
    """Properties for each trace of a figure, and for its layout."""

    traces: tuple[Props, ...]
    layout: Props


def base_layout(height: int) -> dict[str, Any]:
    """The layout that all charts begin with; `height` in pixels."""
    return {
        "height": height,
        "uirevision": "kept",  # keeps the user's zoom and hidden traces
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": INK, "size": 11},
        "margin": {"l": 8, "r": 8, "t": 28, "b": 8},
        "hovermode": "x unified",
        # Dark on every page: plotly's own label is white, on a dark page too.
        "hoverlabel": {"namelength": -1, "bgcolor": "#262c34", "bordercolor": INK, "font": {"color": "#eef1f5"}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": INK, "activecolor": EQUITY, "remove": ["lasso", "select"]},
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1,
            "yanchor": "bottom",
            "bgcolor": "rgba(0,0,0,0)",
        },
    }


def axes_visible(visible: bool, count: int) -> dict[str, bool]:  # noqa: FBT001 - read as axes_visible(True, ...)
    """Layout that shows or hides the x axis and `count` y axes: plotly would invent numbers for axes without data."""
    return {f"{name}.visible": visible for name in ("xaxis", "yaxis", *(f"yaxis{n}" for n in range(2, count + 1)))}


@cache
def _packed() -> bytes:
    bundle = Path(plotly.__file__).parent / "package_data" / "widgetbundle.js"
    return gzip.compress(bundle.read_bytes(), compresslevel=6, mtime=0)


class ChartLibrary(anywidget.AnyWidget):
    """Unpacks plotly.js in every page; a widget without a view."""

    _esm = (STATIC / "library.js").read_text(encoding="utf-8")
    key = traitlets.Unicode(LIBRARY_KEY).tag(sync=True)
    bundle = traitlets.Bytes().tag(sync=True)


_making = threading.Lock()  # guards `_the_one`
_the_one: ChartLibrary | None = None


def bring_library() -> ChartLibrary:
    """The kernel's one `ChartLibrary`, open in its pages; a new one if it was closed."""
    global _the_one  # noqa: PLW0603 - what a page has is per kernel, as the widgets' own registry is
    with _making:
        if _the_one is None or _the_one.comm is None:
            _the_one = ChartLibrary(bundle=_packed())
        return _the_one


class LiveFigure(ReachableWidget, go.FigureWidget):  # type: ignore[misc] # plotly ships no types
    """A figure with a fixed list of traces, which are changed in place by one thread at a time.

    Parameters
    ----------
    label
        The name that a screen reader reads.
    traces, layout
        As `plotly.graph_objects.Figure` takes them.
    name
        Its CSS class.
    acknowledges
        True: the browser reports when it has drawn. Of figures that are drawn together, the last one has it.
    """

    _esm = javascript("figure.js")
    _library = traitlets.Unicode(LIBRARY_KEY).tag(sync=True)
    _label = traitlets.Unicode().tag(sync=True)
    _acknowledges = traitlets.Bool(False).tag(sync=True)
    _version = traitlets.Int(-1).tag(sync=True)  # of the data and the layout that a page opens
    # An acknowledgement is for this kernel alone: not echoed to the pages, as other traits are.
    _js2py_traceDeltas = traitlets.Dict(allow_none=True).tag(sync=True, echo_update=False, **custom_serializers)  # noqa: N815

    def __init__(
        self, label: str, traces: Sequence[Any], layout: Props, name: str, *, acknowledges: bool = False
    ) -> None:
        # Guards the figure's properties, between the pump, the user's zoom and a page that loads.
        self.__dict__["_drawing"] = threading.RLock()
        bring_library()
        super().__init__(data=list(traces), layout=dict(layout))
        self._label = label
        self._acknowledges = acknowledges
        self._config = {"displaylogo": False, "responsive": False, "doubleClick": "autosize"}
        self._shown: list[dict[str, Any]] = [{} for _ in traces]
        self._shown_layout: dict[str, Any] = {}
        self._lacks = False  # a page lacks something, so the next message is the whole figure; under the lock
        self._acknowledged = 0  # written by the thread that serves messages
        self._sent_at = 0.0
        self._took = 0.0
        self._heard: Callable[[], object] = lambda: None
        self._zoomed: Callable[[Mapping[str, Any]], object] = lambda _changes: None
        self.on_msg(self._message)
        self.observe(self._relayout, "_js2py_relayout")
        self.add_class(name)
        self._version = 0
        self.open()

    def open(self) -> None:
        """Open the figure in the pages, if it is complete: its first message holds all of it."""
        if self._version >= 0:
            super().open()

    # -- what the pump calls --------------------------------------------------------------------------------

    def listen(self, heard: Callable[[], object], zoomed: Callable[[Mapping[str, Any]], object]) -> None:
        """Call `heard` when the browser has drawn a message, and `zoomed` with the user's changes of the axes."""
        self._heard, self._zoomed = heard, zoomed

    @property
    def is_behind(self) -> bool:
        """True while the browser still draws the last message, for `LIMIT_SECONDS` at most."""
        # Before the first acknowledgement there is no page, or one that loads and will ask for the whole figure.
        waiting = 0 < self._acknowledged < self._last_trace_edit_id
        return waiting and monotonic() - self._sent_at < LIMIT_SECONDS

    @property
    def drawing_seconds(self) -> float:
        """Seconds from the last message to its acknowledgement; 0 before the first."""
        return self._took

    def draw(self, traces: Sequence[Props], layout: Props) -> bool:
        """Show these properties, a mapping for each trace; returns True if anything was sent.

        Only differences are sent, or the whole figure if a page lacks something.
        """
        with self._drawing:
            before = self._last_trace_edit_id
            changes = [_differences(old, new) for old, new in zip(self._shown, traces, strict=True)]
            relaid = _differences(self._shown_layout, layout)
            if relaid or any(changes):
                with self.batch_update():
                    for trace, change in zip(self.data, changes, strict=False):  # a user may have added traces
                        for name, value in change.items():
                            trace[name] = value
                    for name, value in relaid.items():
                        self.layout[name] = value
                for old, change in zip(self._shown, changes, strict=True):
                    old.update(change)
                self._shown_layout.update(relaid)
            self.answer()
            return bool(self._last_trace_edit_id > before)

    def answer(self) -> None:
        """Send the whole figure if a page has reported that it lacks something."""
        with self._drawing:
            if self._lacks:
                style, layout = self._whole()
                self._send_update_msg(restyle_data=style, relayout_data=layout)

    # -- what the browser calls -----------------------------------------------------------------------------

    @traitlets.observe("_js2py_traceDeltas")
    def _handler_js2py_traceDeltas(self, change: Mapping[str, Any]) -> None:  # noqa: N802 - takes plotly's place
        message = change["new"]
        if message:
            self._acknowledged = max(self._acknowledged, message.get("trace_edit_id") or 0)
            if self._acknowledged == self._last_trace_edit_id:
                self._took = monotonic() - self._sent_at
            self._heard()

    def _message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        if not isinstance(content, dict) or content.get("kind") != "drawn":
            return
        with self._drawing:
            if content.get("version") == self._last_trace_edit_id:
                return
            self._lacks = True
        self._heard()

    def _relayout(self, change: Mapping[str, Any]) -> None:
        if change["new"]:
            self._zoomed(change["new"].get("relayout_data") or {})

    # -- between threads ------------------------------------------------------------------------------------

    def _whole(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Every property of every trace, and of the layout."""
        names = dict.fromkeys(name for trace in self._data for name in trace)
        style = {name: [trace.get(name, Undefined) for trace in self._data] for name in names}
        return style, dict(self._layout_obj._props)  # noqa: SLF001 - as plotly's own display does

    def _send_update_msg(
        self, restyle_data: Any, relayout_data: Any, trace_indexes: Any = None, source_view_id: Any = None
    ) -> None:
        # One kind of message, where plotly has eight; its number makes each message a change of the trait.
        if self._version < 0:
            return  # the figure is being made
        with self._drawing, self.hold_sync():
            base: int | None = self._last_trace_edit_id
            if self._lacks or any(_ITEM.search(path) for path in (*restyle_data, *relayout_data)):
                (restyle_data, relayout_data), trace_indexes, base = self._whole(), None, None
                self._lacks = False
            self._last_trace_edit_id += 1
            self._last_layout_edit_id += 1
            self._py2js_update = {
                "base": base,
                "style_data": restyle_data,
                "layout_data": relayout_data,
                "style_traces": self._normalize_trace_indexes(trace_indexes),
                "trace_edit_id": self._last_trace_edit_id,
                "layout_edit_id": self._last_layout_edit_id,
                "source_view_id": source_view_id,
            }
            self._sent_at = monotonic()

    def _send_restyle_msg(self, restyle_data: Any, trace_indexes: Any = None, source_view_id: Any = None) -> None:
        self._send_update_msg(restyle_data, {}, trace_indexes, source_view_id)

    def _send_relayout_msg(self, layout_data: Any, source_view_id: Any = None) -> None:
        self._send_update_msg({}, layout_data, None, source_view_id)

    def _send_all(self, *_message: Any, **_more: Any) -> None:
        with self._drawing:
            self._lacks = True
            self.answer()

    _send_addTraces_msg = _send_deleteTraces_msg = _send_moveTraces_msg = _send_animate_msg = _send_all  # noqa: N815

    def plotly_relayout(self, relayout_data: Any, **kwargs: Any) -> None:
        """Change the layout, as plotly does, but never while the pump draws."""
        changes = dict(relayout_data)
        for axis in {path.partition(".")[0] for path in changes if _EDGE.search(path)}:
            # plotly.js turns an axis's autorange off with its range, and doesn't say so.
            changes.setdefault(f"{axis}.autorange", False)
            edges = [f"{axis}.range[0]", f"{axis}.range[1]"]
            if set(edges) <= set(changes):
                changes[f"{axis}.range"] = [changes.pop(edge) for edge in edges]
        with self._drawing:
            for path in changes:
                self._shown_layout.pop(path, None)
            super().plotly_relayout(changes, **kwargs)

    def plotly_restyle(self, *args: Any, **kwargs: Any) -> None:
        """Change traces, as plotly does, but never while the pump draws."""
        with self._drawing:
            super().plotly_restyle(*args, **kwargs)

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - theirs
        """The state that a loading page is given: the figure as it is now."""
        with self._drawing:
            state: dict[str, Any] = super().get_state(key=key, drop_defaults=drop_defaults)
            # plotly refreshes these two only if the figure itself is displayed, not in a box or after a reload.
            if key is None:
                state["_py2js_update"] = None  # the message is in the data already
                state["_version"] = self._last_trace_edit_id if self._version >= 0 else -1
            if "_widget_data" in state and "_data" in self.__dict__:
                state["_widget_data"] = custom_serializers["to_json"](deepcopy(self._data), self)
            if "_widget_layout" in state and "_layout_obj" in self.__dict__:
                props = deepcopy(self._layout_obj._props)  # noqa: SLF001 - as plotly's own display does
                state["_widget_layout"] = custom_serializers["to_json"](props, self)
            return state


def _differences(old: Props, new: Props) -> dict[str, Any]:
    return {name: value for name, value in new.items() if name not in old or not _same(old[name], value)}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        arrays = isinstance(one, np.ndarray) and isinstance(other, np.ndarray)
        return arrays and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    return bool(one == other)
