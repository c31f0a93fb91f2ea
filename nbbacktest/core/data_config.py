"""The data section of the session config: the source of bars, the bars that a run has, and the handling of faulty ones."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from nbbacktest.core.actions import COUNTED_TWICE, Actions
from nbbacktest.core.errors import DataError, closest
from nbbacktest.core.hours import ZoneName
from nbbacktest.core.intervals import SECOND, Interval
from nbbacktest.core.model import Model, RefusedError
from nbbacktest.core.user_code import is_reference


class BuiltInSource(NamedTuple):
    """A source that a config names by one word.

    Attributes
    ----------
    reference : str
        Its class as ``module:Name``, the way in which a config names a user's own source. Imported when bars are loaded.
    path : str or None
        The kind of file that `data.path` has to name; None: it reads no file.
    takes_options : bool
        True if it is made with `data.options`.
    reads_all : bool
        True if it reads all the bars that it has, whatever dates a run asks for.
    """

    reference: str
    path: str | None = None
    takes_options: bool = False
    reads_all: bool = False


_FILE = "a file; with {symbol} for several"

SOURCES = {
    "synthetic": BuiltInSource("nbbacktest.data.synthetic:SyntheticSource"),
    "csv": BuiltInSource("nbbacktest.data.files:FileSource", path=_FILE, reads_all=True),
    "parquet": BuiltInSource("nbbacktest.data.files:FileSource", path=_FILE, reads_all=True),
    "sample": BuiltInSource("nbbacktest.data.samples:SampleSource", reads_all=True),
    "lean": BuiltInSource("nbbacktest.data.lean:LeanSource", path="a folder, the one that holds 'equity'"),
    "yfinance": BuiltInSource("nbbacktest.data.yahoo:YahooSource", takes_options=True),
}
"""The registry of sources. A new one is a class (see `nbbacktest.data.datasource`) and a line here."""


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
    """The handling of faulty rows and of data with gaps."""

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


def check_source(source: str, path: str | None, symbols: tuple[str, ...], options: dict[str, Any]) -> None:
    """Refuse a path or options that the source doesn't use, and a missing path.

    Raises
    ------
    RefusedError
        For the first that is wrong.
    """
    built_in = SOURCES.get(source)
    if built_in is None:
        if path:
            raise RefusedError("path", path, f"what {source} is made with goes into options; move it there")
        return
    if built_in.path and not path:
        raise RefusedError("path", path, f"source {source!r} needs {built_in.path}")
    if path and not built_in.path:
        raise RefusedError("path", path, f"source {source!r} reads no file; remove it, or change the source")
    if options and not built_in.takes_options:
        raise RefusedError("options", options, f"source {source!r} has none; remove them, or change the source")
    # A Parquet path without an ending may be a folder of all symbols, which is looked at when it is read.
    is_file = source == "csv" or (source == "parquet" and (path or "").lower().endswith((".parquet", ".pq")))
    if is_file and len(symbols) > 1 and "{symbol}" not in (path or ""):
        raise RefusedError("path", path, f"is one file for {len(symbols)} symbols; put {{symbol}} in it")


def bar_counts(value: Any) -> Any:
    """Check a number of bars, or such numbers by interval, which are written in the usual way.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if not isinstance(value, Mapping):
        return _count(value)
    counts = {}
    for text, count in value.items():
        try:
            counts[Interval.parse(text).name] = _count(count)
        except DataError as error:
            raise ValueError(str(error)) from None
    return counts


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise ValueError('is a number of bars, 0 or more, or such numbers by interval: {"1m": 200, "1d": 50}')
    return int(value)


BarCounts = Annotated[Annotated[int, Field(ge=0)] | dict[str, Annotated[int, Field(ge=0)]], BeforeValidator(bar_counts)]
"""Numbers of bars: of the base interval, or by interval."""


class OtherBase(Model):
    """The source of coarser bars of the session's symbols; orders fill on the base interval alone."""

    source: Literal["csv", "parquet"] = Field("csv", description="kind of source")
    path: str = Field(min_length=1, description="file; may hold {symbol}")
    stamp: StampMeaning | None = Field(None, description="as data.stamp; null: what that says")


def _interval(text: str) -> str:
    try:
        return Interval.parse(text).name
    except DataError as error:
        raise ValueError(str(error)) from None


StampMeaning = Literal["open", "close"]
"""The moment of a bar that its stamp marks."""

IntervalText = Annotated[str, AfterValidator(_interval)]
"""An interval such as ``"5m"``; another spelling of the same length (``"60s"``) becomes the usual one (``"1m"``)."""


def each_once(symbols: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse symbols that are named twice, or empty.

    Raises
    ------
    ValueError
    """
    twice = sorted({s for s in symbols if symbols.count(s) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is named twice; name each symbol once")
    if any(not s for s in symbols):
        raise ValueError("an empty name is no symbol; remove it")
    return symbols


class DataConfig(Model):
    """The source of bars."""

    source: SourceText = Field("synthetic", description="kind of source, or module:Name of a DataSource")
    path: str | None = Field(
        None, description="file for csv and parquet, may hold {symbol}; folder for parquet and lean"
    )
    symbols: tuple[str, ...] = Field(("EXE", "SW"), min_length=1, description="in the order of their callbacks")
    interval: IntervalText = Field("1m", description="length of the base bars")
    stamp: StampMeaning | None = Field(
        None, description="what the file's times mark; required for intraday files, never guessed"
    )
    timezone: ZoneName | None = Field(
        None, description="IANA name of the zone that stamps without one are in; null: the config's timezone"
    )
    separator: Literal[",", ";", "\t", "|", " "] | None = Field(
        None, description="what parts the columns of csv files; null: as their header shows"
    )
    decimal: Literal[".", ","] | None = Field(
        None, description="what comes before decimals in csv files, the other part thousands; null: as the numbers show"
    )
    derived_intervals: tuple[IntervalText, ...] = Field(
        (), description="coarser bars built from the base bars, up to 1d, 1w and 1mo"
    )
    warmup_days: int = Field(0, ge=0, description="sessions loaded before the first, seen but never traded")
    warmup_bars: BarCounts = Field(
        0, description="the same, counted in bars: of the base interval, or by interval; the longest reach wins"
    )
    require_complete: bool = Field(
        False, description="derived bars that lack base bars are neither delivered nor seen in bars()"
    )
    other_bases: dict[IntervalText, OtherBase] = Field(
        default_factory=dict, description="coarser bars of the same symbols, from sources of their own, by interval"
    )
    adjusted: bool = Field(True, description="prices are adjusted for splits and dividends; false: raw prices")
    actions: Actions | None = Field(
        None,
        description="splits and dividends for raw prices, delistings for any: a CSV of symbol,date,kind,value, or such rows",
    )
    seed: int = Field(7, ge=0, description="synthetic data: the same seed gives the same bars")
    options: dict[str, Any] = Field(default_factory=dict, description="what a DataSource is made with, by name")
    quality: QualityConfig = Field(QualityConfig())
    stream: bool | None = Field(
        None, description="parquet: read bars little by little while the run goes on; null: folders and large files"
    )

    @property
    def chosen_symbols(self) -> tuple[str, ...] | None:
        """The symbols if the config sets them; the default says nothing about data that is handed over."""
        return self.symbols if "symbols" in self.model_fields_set else None

    @property
    def chosen_interval(self) -> Interval | None:
        """The interval if the config sets it; the default says nothing about a file's bars."""
        return Interval.parse(self.interval) if "interval" in self.model_fields_set else None

    @field_validator("symbols")
    @classmethod
    def _named(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        return each_once(symbols)

    @model_validator(mode="after")
    def _derivable(self) -> Self:
        key, base = "derived_intervals", Interval.parse(self.interval)
        if len(set(self.derived_intervals)) < len(self.derived_intervals):
            raise RefusedError(key, list(self.derived_intervals), "names an interval twice; name each once")
        for text in self.derived_intervals:
            derived = Interval.parse(text)
            # An interval that isn't set says nothing about the bars to come: it is inferred from them later.
            known = base if "interval" in self.model_fields_set else Interval.from_ns(SECOND)
            why = derived.misfit(known)
            if why is not None and (known is base or derived.is_daily):
                raise RefusedError(key, text, why)
            if text in self.other_bases:
                raise RefusedError(key, text, "is in other_bases too; bars of one length are loaded or built, not both")
        for text in self.other_bases:
            if "interval" in self.model_fields_set and Interval.parse(text) <= base:
                cure = f"is not longer than interval {base}, which orders fill on; set interval to the shortest"
                raise RefusedError("other_bases", text, cure)
        return self

    @model_validator(mode="after")
    def _found(self) -> Self:
        # The rows of a file of actions are checked when it is read.
        if self.adjusted and isinstance(self.actions, tuple) and any(row.kind != "delist" for row in self.actions):
            raise RefusedError("actions", self.actions, COUNTED_TWICE)
        if self.stream and self.source != "parquet" and "source" in self.model_fields_set:
            raise RefusedError("stream", self.stream, f"source {self.source!r} can't be streamed; bring parquet files")
        if self.stream and self.quality.faults != "refuse":
            cure = "faulty rows can't be left out on the way; set quality.faults to 'refuse', or stream to false"
            raise RefusedError("stream", self.stream, cure)
        if self.stream and self.other_bases:
            cure = "other_bases are compared before a run; leave them out, or set stream to false"
            raise RefusedError("stream", self.stream, cure)
        check_source(self.source, self.path, self.symbols, self.options)
        return self
