"""The parts of a config that say where bars come from and what becomes of faulty ones."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from nbbacktest.core.errors import closest
from nbbacktest.core.imports import is_reference
from nbbacktest.core.model import Model
from nbbacktest.core.refusals import RefusedError

SOURCES = ("synthetic", "csv", "parquet", "sample", "lean", "yfinance")
"""The kinds of source that are built in."""

_FILES = ("csv", "parquet")
_WITH_PATH = (*_FILES, "lean")
_WITH_OPTIONS = ("yfinance",)


def _source(text: str) -> str:
    if text in SOURCES or is_reference(text):
        return text
    meant = closest(text, SOURCES)
    *others, last = map(repr, SOURCES)
    raise ValueError(
        f"must be {', '.join(others)}, {last} or module:Name of a DataSource"
        + (f"; did you mean {meant!r}?" if meant else "")
    )


SourceText = Annotated[
    str,
    AfterValidator(_source),
    WithJsonSchema({"anyOf": [{"enum": list(SOURCES)}, {"type": "string", "pattern": r"^[^:]+:[^:]+$"}]}),
]
"""A kind of source, or the ``module:Name`` of a user's own."""


class QualityConfig(Model):
    """What becomes of faulty rows and of data with gaps."""

    faults: Literal["refuse", "warn", "drop"] = Field(
        "refuse",
        description="a faulty row refuses the run; or is left out, with a warning that names it; or is left out and "
        "counted",
    )
    minimum: float | None = Field(
        None,
        ge=0,
        le=1,
        description="smallest share of a symbol's expected bars; below it the run is refused, or warned of; with drop "
        "each session below it is left out for that symbol; null: gaps are let be",
    )


def check_origin(source: str, path: str | None, symbols: tuple[str, ...], options: dict[str, Any]) -> None:
    """Refuse a path or options that the source has no use for, and a missing path.

    Raises
    ------
    RefusedError
        For the first that is wrong.
    """
    if source in _WITH_PATH and not path:
        what = "a folder, the one that holds 'equity'" if source == "lean" else "a file; with {symbol} for several"
        raise RefusedError("path", path, f"source {source!r} needs {what}")
    if source in SOURCES and source not in _WITH_PATH and path:
        raise RefusedError("path", path, f"source {source!r} reads no file; remove it, or change the source")
    if source not in SOURCES and path:
        raise RefusedError("path", path, f"what {source} is made with goes into options; move it there")
    if source in SOURCES and source not in _WITH_OPTIONS and options:
        raise RefusedError("options", options, f"source {source!r} has none; remove them, or change the source")
    # A Parquet path without an ending may be a folder of all symbols, which is looked at when it is read.
    is_file = source == "csv" or (source == "parquet" and (path or "").lower().endswith((".parquet", ".pq")))
    if is_file and len(symbols) > 1 and "{symbol}" not in (path or ""):
        raise RefusedError("path", path, f"is one file for {len(symbols)} symbols; put {{symbol}} in it")
