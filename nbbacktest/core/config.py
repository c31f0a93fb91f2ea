"""The session config: the definition of a run as frozen typed models, which are read from JSON and refuse mistakes.

`SessionConfig.load` is the one way in; every error it raises names the path, the value and the cure.
"""

from __future__ import annotations

import json
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic.json_schema import GenerateJsonSchema

from nbbacktest.core.costs import (
    Borrow,
    CallableCommission,
    Commission,
    CommissionFunction,
    Interest,
    NoBorrow,
    NoCommission,
    NoInterest,
    NoSlippage,
    PercentCommission,  # noqa: F401 - was defined here, and may be imported from here
    PercentSlippage,  # noqa: F401 - as above
    Slippage,
)
from nbbacktest.core.data_config import DataConfig, each_once
from nbbacktest.core.errors import ConfigError, ConfigNotFoundError, Problem, nearest
from nbbacktest.core.hours import Hours, OwnHours, ZoneName
from nbbacktest.core.live_config import LagConfig, LiveConfig
from nbbacktest.core.model import Model, RefusedError, problems_of
from nbbacktest.core.user_code import is_reference


class RemoteConfig(Model):
    """The control server: lets other terminals and programs of the same user reach the run."""

    enabled: bool = Field(True, description="whether the run can be found and commanded by them")


class JournalConfig(Model):
    """The journal: keeps on disk what the run began with and what was done to it, so that a killed run can be gone on with."""

    enabled: bool = Field(True, description="whether runs of a SystemManager have one")
    folder: str | None = Field(
        None, min_length=1, description="where runs are kept; null: nbbacktest/runs in the user's folder for state"
    )
    keep: int = Field(20, ge=1, description="most runs that are kept; ended ones go first, then the oldest")
    sync: Literal["input", "never"] = Field(
        "input",
        description="input: what a hand does is on the disk before it happens, so that a power cut takes nothing",
    )
    bars: Literal["reference", "copy"] = Field(
        "reference", description="copy: keep bars that were handed over as frames beside the journal, as Parquet files"
    )


class BacktestConfig(Model):
    """The days of the run, and its speed."""

    start_date: date | None = Field(None, description="first day, inclusive; null: as far as the data goes")
    end_date: date | None = Field(None, description="last day, inclusive; null: as far as the data goes")
    speed_multiplier: float = Field(0, ge=0, description="0: data-driven, as fast as it goes; 60: a minute a second")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start_date and self.end_date and self.end_date < self.start_date:
            cure = f"is before start_date {self.start_date}; swap or correct them"
            raise RefusedError("end_date", self.end_date.isoformat(), cure)
        return self


class StrategyConfig(Model):
    """One strategy to run."""

    class_path: str = Field(alias="class", description="module:Name, __main__:Name included")
    symbols: tuple[str, ...] | None = Field(None, min_length=1, description="null: all the session's symbols")
    params: dict[str, Any] = Field(default_factory=dict, description="values for the class's parameters")

    @field_validator("class_path")
    @classmethod
    def _form(cls, text: str) -> str:
        if not is_reference(text):
            raise ValueError("write module:Name, such as 'nbbacktest.strategies:SmaCross'")
        return text

    @field_validator("symbols")
    @classmethod
    def _named(cls, symbols: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if symbols is None else each_once(symbols)


class BrokerConfig(Model):
    """The costs of trading, and the rules by which orders fill."""

    cash: float = Field(100_000.0, gt=0, description="starting cash")
    commission: Commission = Field(NoCommission())
    slippage: Slippage = Field(NoSlippage())
    borrow: Borrow = Field(NoBorrow(), description="what short positions pay, by the day")
    interest: Interest = Field(NoInterest(), description="what debit cash pays, by the day")
    fill: Literal["next_open", "next_close", "this_close"] = Field(
        "next_open", description="when market orders fill; this_close is the bar that they were decided on: a cheat"
    )
    limit_fill: Literal["touch", "cross"] = Field(
        "touch", description="whether a limit fills when a bar touches it, or only when one goes beyond"
    )
    stop_and_target: Literal["pessimistic", "path", "finer"] = Field(
        "pessimistic",
        description="which of two linked orders fills where one bar reaches both: the stop; the one on the likelier "
        "path; finer: base bars inside a coarser signal interval decide, and within one of them the stop",
    )
    volume_share: float | None = Field(
        None, gt=0, le=1, description="largest share of a bar's volume that fills; the rest stays open; null: no cap"
    )
    account: Literal["cash", "margin"] = Field("cash", description="whether positions may be worth more than is owned")
    initial_margin: float = Field(0.5, gt=0, le=1, description="margin: equity needed to open, per worth of positions")
    maintenance_margin: float = Field(
        0.25, ge=0, le=1, description="margin: equity needed to hold; below it positions are liquidated"
    )
    leverage: float | None = Field(
        None, gt=0, description="margin: largest worth of positions per equity; null: as initial_margin allows"
    )
    fractional: bool = Field(True, description="whether sizes may be other than whole units")
    lot_size: float | None = Field(None, gt=0, description="sizes are multiples of it; null: any size")
    tick_size: float | None = Field(None, gt=0, description="levels are multiples of it; null: any price")

    @model_validator(mode="after")
    def _margins_fit(self) -> Self:
        if self.account == "cash":
            names, known = ("initial_margin", "leverage", "maintenance_margin"), type(self).model_fields
            # A field at its default is no mistake, so that a config that was written out whole reads back.
            given = [name for name in names if getattr(self, name) != known[name].default]
            if given:
                raise ValueError(f"{given[0]} is for margin accounts and account is 'cash'; set account to 'margin'")
        elif self.maintenance_margin > max(self.initial_margin, 1 / self.leverage if self.leverage else 0.0):
            raise ValueError(
                f"maintenance_margin {self.maintenance_margin:g} is above what opening needs, "
                f"{self.initial_margin:g}: every position would be called at once; lower it"
            )
        if not self.fractional and self.lot_size is not None and self.lot_size % 1:
            raise ValueError(f"lot_size {self.lot_size:g} isn't whole and fractional is false; change one of them")
        return self


class LimitsConfig(Model):
    """The most that may be held; an order that would go beyond is rejected with this reason."""

    max_open_positions: int | None = Field(None, ge=1, description="symbols held at one time; null: no limit")
    max_per_symbol: float | None = Field(None, gt=0, description="largest notional in one symbol; null: no limit")


class SessionConfig(Model):
    """A whole run: `load` reads one from a path, a mapping or another config."""

    session_name: str = Field("Backtest", min_length=1)
    mode: Literal["backtest", "live"] = Field("backtest", description="kind of run")
    exchange: str = Field("XNYS", description="an exchange_calendars code, or 24/7")
    timezone: ZoneName | None = Field(
        None, description="IANA name of the zone that times are shown in, and nothing else; null: the exchange's"
    )
    day_zone: ZoneName | None = Field(
        None,
        description="IANA name of the zone whose dates are the trading days of a market without sessions; null: UTC for "
        "24/7, the data's own zone where no exchange is named",
    )
    hours: Hours = Field("regular", description="when sessions are open: the calendar's hours, or one's own")
    on_error: Literal["stop", "pause"] = Field("stop", description="what a raising strategy does to the run")
    seed: int = Field(0, ge=0, description="what the random numbers of `self.random` begin with")
    backtest: BacktestConfig = Field(BacktestConfig())
    data: DataConfig = Field(DataConfig())
    strategies: tuple[StrategyConfig, ...] = Field((), description="run in this order")
    broker: BrokerConfig = Field(BrokerConfig())
    limits: LimitsConfig = Field(LimitsConfig())
    remote: RemoteConfig = Field(RemoteConfig())
    journal: JournalConfig = Field(JournalConfig())
    live: LiveConfig = Field(LiveConfig(), description="mode live: where bars come from")
    lag: LagConfig = Field(LagConfig(), description="when a symbol counts as lagging")
    metadata: dict[str, Any] = Field(default_factory=dict, description="yours; not read")

    @property
    def own_hours(self) -> OwnHours | None:
        """The session's hours if they aren't the calendar's."""
        return self.hours if isinstance(self.hours, OwnHours) else None

    @model_validator(mode="after")
    def _symbols_exist(self) -> Self:
        for number, strategy in enumerate(self.strategies):
            for symbol in strategy.symbols or ():
                if symbol not in self.data.symbols:
                    cure = f"is not in data.symbols; {nearest(symbol, self.data.symbols)}"
                    raise RefusedError(f"strategies.{number}.symbols", symbol, cure)
        return self

    @model_validator(mode="after")
    def _days_are_sessions(self) -> Self:
        if self.day_zone is not None and "exchange" in self.model_fields_set and self.exchange != "24/7":
            cure = f"{self.exchange} has sessions, and these are its trading days; leave day_zone out"
            raise RefusedError("day_zone", self.day_zone, cure)
        return self

    @model_validator(mode="after")
    def _goes_on(self) -> Self:
        if self.mode == "live" and self.on_error == "pause":
            raise RefusedError("on_error", "pause", "the market doesn't wait: a live run can't be held; use 'stop'")
        return self

    @classmethod
    def load(cls, source: str | Path | dict[str, Any] | SessionConfig) -> SessionConfig:
        """Read a config.

        Parameters
        ----------
        source
            A JSON file's path, a mapping, or a config (returned as it is).

        Raises
        ------
        ConfigError
            With every problem found: path, value and cure of each. It is a FileNotFoundError too if there is no
            such file.
        """
        if isinstance(source, SessionConfig):
            return source
        where = "session config"
        if isinstance(source, (str, Path)):
            where = str(source)
            source = _read_json(Path(source))
        if not isinstance(source, dict):
            raise ConfigError(
                [Problem("(whole)", source, "a config is a JSON object, a mapping, a path or a SessionConfig")], where
            )
        # Editors complete by the schema that a file names in this key.
        source = {key: value for key, value in source.items() if key != "$schema" or not isinstance(value, str)}
        source, function = _without_function(source)
        try:
            # Through JSON, so that the same strict types hold for a mapping and for a file.
            text = json.dumps(source, default=_jsonable)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(
                [Problem("(whole)", source, f"holds what JSON can't: {error}; remove it")], where
            ) from None
        try:
            config = cls.model_validate_json(text)
        except ValidationError as error:
            raise ConfigError(problems_of(cls, error), where) from None
        _check_keys(source, where)
        if function is None:
            return config
        own = config.broker.model_copy(update={"commission": CallableCommission(function=function)})
        return config.model_copy(update={"broker": own})

    def overlaid(self, changes: dict[str, Any], where: str = "session config") -> SessionConfig:
        """A copy with other values laid over it, section by section; checked as a whole.

        Fields that were set in this config or in `changes` count as set in the copy (`model_fields_set`).
        """
        if not changes:
            return self
        merged = self.set_values()
        if isinstance(self.broker.commission, CallableCommission):
            merged["broker"]["commission"] = (
                self.broker.commission.model_dump()
            )  # a function that was given as an object stays one
        for key, value in changes.items():
            merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
        try:
            return SessionConfig.load(merged)
        except ConfigError as error:
            raise ConfigError(error.problems, where) from None

    def to_dict(self) -> dict[str, Any]:
        """The config as JSON-ready values, under the names that the file uses."""
        return self.model_dump(mode="json", by_alias=True)

    def set_values(self) -> dict[str, Any]:
        """As `to_dict`, of what was set alone: a config that is read from it counts the same fields as set."""
        given: dict[str, Any] = _with_models(
            self.model_dump(mode="json", by_alias=True, exclude_unset=True), self.to_dict()
        )
        return given


EXAMPLE: dict[str, Any] = {
    "session_name": "Example: two synthetic symbols",
    "mode": "backtest",
    "exchange": "XNYS",
    "timezone": "America/New_York",
    "backtest": {"start_date": "2024-10-03", "end_date": "2024-10-10", "speed_multiplier": 0},
    "data": {
        "source": "synthetic",
        "symbols": ["EXE", "SW"],
        "interval": "1m",
        "derived_intervals": ["5m", "15m"],
    },
    "strategies": [{"class": "nbbacktest.strategies:SmaCross", "params": {"fast": 10, "slow": 30}}],
    "broker": {"cash": 100000, "commission": {"model": "percent", "rate": 0.001}, "slippage": {"model": "none"}},
}
"""The config that `start()` runs without arguments; `session_configs/example_session.json` is the same at a pace to watch."""


class _Schema(GenerateJsonSchema):
    """Leaves out the defaults of sections, which the schemas of the sections themselves say."""

    def default_schema(self, schema: Any) -> dict[str, Any]:
        if isinstance(schema.get("default"), Model):
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


def config_schema() -> dict[str, Any]:
    """The JSON schema of a session config."""
    schema = SessionConfig.model_json_schema(by_alias=True, schema_generator=_Schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _without_function(config: dict[str, Any]) -> tuple[dict[str, Any], CommissionFunction | None]:
    """A session config as a mapping that JSON can hold, and the live commission function that was in it, if any."""
    broker = config.get("broker")
    commission = broker.get("commission") if isinstance(broker, dict) else None
    function = commission.get("function") if isinstance(commission, dict) else None
    if not isinstance(broker, dict) or not isinstance(commission, dict) or not callable(function):
        return config, None
    commission = {**commission, "function": "live:function"}
    return {**config, "broker": {**broker, "commission": commission}}, function


def _jsonable(value: Any) -> Any:
    """The JSON of a Python user's value, such as a date or a path, as a file would hold it."""
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    if hasattr(value, "columns") and hasattr(value, "to_dict"):
        return value.to_dict("records")  # a table of corporate actions
    raise TypeError(f"{value!r} of type {type(value).__name__}")


def _with_models(given: Any, whole: Any) -> Any:
    """Values that were set, with the names of their models, which needn't be set in Python."""
    if isinstance(given, dict):
        named = {"model": whole["model"]} if "model" in whole else {}
        return named | {key: _with_models(value, whole[key]) for key, value in given.items()}
    if isinstance(given, list):
        return [_with_models(*pair) for pair in zip(given, whole, strict=True)]
    return given


def _check_keys(source: Any, where: str) -> None:
    """Refuse keys that JSON would turn into text: a reader would find other keys than were given."""
    pending = [("", source)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict):
            wrong = [
                Problem(f"{path}(key)", key, f"keys are text; write {str(key)!r}")
                for key in value
                if not isinstance(key, str)
            ]
            if wrong:
                raise ConfigError(wrong, where)
            pending += [(f"{path}{key}.", inner) for key, inner in value.items()]
        elif isinstance(value, (list, tuple)):
            pending += [(f"{path}{number}.", inner) for number, inner in enumerate(value)]


def _read_json(path: Path) -> Any:
    where = str(path)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_object)
    except FileNotFoundError:
        here = sorted(str(p) for p in path.parent.glob("*.json")) if path.parent.is_dir() else []
        cure = nearest(where, here) if here else f"there is no JSON file in {path.parent.absolute()}"
        raise ConfigNotFoundError([Problem("(file)", where, f"no such file; {cure}")], where) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError([Problem("(file)", where, f"can't be read: {reason}; name a JSON file")], where) from None
    except json.JSONDecodeError as error:
        cure = f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}; correct it there"
        raise ConfigError([Problem("(file)", where, cure)], where) from None
    except RecursionError:
        raise ConfigError([Problem("(file)", where, "is nested too deep to be read; flatten it")], where) from None
    except _TwiceError as error:
        raise ConfigError([Problem(str(error), error.value, "the key is there twice; keep one")], where) from None


class _TwiceError(Exception):
    """A key that stands twice in one object, which JSON allows and a reader overlooks."""

    def __init__(self, key: str, value: Any) -> None:
        super().__init__(key)
        self.value = value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _TwiceError(key, value)
        found[key] = value
    return found
