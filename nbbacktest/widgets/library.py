"""The chart library on its way to the browser: packed, and once for a kernel instead of once for each figure.

A plain FigureWidget brings 5 MB with it. This widget brings 1.4 MB once, and figures of `nbbacktest.widgets.figures` take
the library from the page.
"""

from __future__ import annotations

import gzip
import threading
from functools import cache
from pathlib import Path

import anywidget
import plotly
import traitlets

STATIC = Path(__file__).parent / "static"
KEY = f"plotly {plotly.__version__}"
"""Which library: panels of two kernels may share a page."""


@cache
def _packed() -> bytes:
    bundle = Path(plotly.__file__).parent / "package_data" / "widgetbundle.js"
    return gzip.compress(bundle.read_bytes(), compresslevel=6, mtime=0)


class ChartLibrary(anywidget.AnyWidget):
    """Shows nothing; unpacks the library in every page that opens it."""

    _esm = (STATIC / "library.js").read_text(encoding="utf-8")
    key = traitlets.Unicode(KEY).tag(sync=True)
    bundle = traitlets.Bytes().tag(sync=True)


_making = threading.Lock()  # guards `_the_one`
_the_one: ChartLibrary | None = None


def bring_library() -> ChartLibrary:
    """The kernel's one library, opened in its pages; made anew where somebody has closed all widgets."""
    global _the_one  # noqa: PLW0603 - what a page has is per kernel, as the widgets' own registry is
    with _making:
        if _the_one is None or _the_one.comm is None:
            _the_one = ChartLibrary(bundle=_packed())
        return _the_one
