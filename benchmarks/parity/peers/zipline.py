"""A tape on zipline-reloaded: daily bars, orders that fill at the next close, splits by its adjustments."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from zipline import TradingAlgorithm
from zipline.api import order, set_commission, set_slippage, symbol
from zipline.assets import AssetDBWriter, AssetFinder
from zipline.data.adjustments import SQLiteAdjustmentReader, SQLiteAdjustmentWriter
from zipline.data.bcolz_daily_bars import BcolzDailyBarReader, BcolzDailyBarWriter
from zipline.data.data_portal import DataPortal
from zipline.finance.commission import NoCommission, PerShare
from zipline.finance.metrics import load
from zipline.finance.slippage import NoSlippage, VolumeShareSlippage
from zipline.finance.trading import SimulationParameters
from zipline.utils.calendar_utils import get_calendar

from benchmarks.parity.tape import Tape

ENGINE = "zipline-reloaded"


def run(tape: Tape) -> tuple[list[tuple[str, str, float, float]], float]:
    """Fills and final equity."""
    with tempfile.TemporaryDirectory() as folder:
        return _trade(tape, Path(folder))


def _trade(tape: Tape, folder: Path) -> tuple[list[tuple[str, str, float, float]], float]:
    calendar, due = get_calendar("XNYS"), tape.due()
    sessions = pd.DatetimeIndex(tape.stamps)
    portal = _portal(tape, folder, calendar, sessions)
    cap, fee = tape.extra.get("volume_share"), tape.extra.get("per_share")
    complete = 0

    def initialize(context: Any) -> None:
        # With its own prices: no impact, and the fee an order that is at least so much.
        set_slippage(us_equities=NoSlippage() if cap is None else VolumeShareSlippage(cap, price_impact=0.0))
        set_commission(us_equities=PerShare(*fee) if fee else NoCommission())
        context.assets = {name: symbol(name) for name in tape.bars}

    def handle_data(context: Any, data: Any) -> None:  # noqa: ARG001 - the engine's signature
        nonlocal complete
        complete += 1
        for placed in due.get(complete, ()):
            order(context.assets[placed["symbol"]], int(placed["size"]))

    algorithm = TradingAlgorithm(
        namespace={},
        data_portal=portal,
        trading_calendar=calendar,
        sim_params=SimulationParameters(
            start_session=sessions[0],
            end_session=sessions[-1],
            trading_calendar=calendar,
            capital_base=tape.cash,
            data_frequency="daily",
        ),
        metrics_set=load("default"),
        benchmark_returns=pd.Series(0.0, sessions),
        initialize=initialize,
        handle_data=handle_data,
    )
    made = algorithm.run()
    fills = [
        (str(day.date()), one["sid"].symbol, float(one["amount"]), float(one["price"]))
        for day, those in zip(sessions, made["transactions"], strict=True)
        for one in those
    ]
    return fills, float(made["portfolio_value"].iloc[-1])


def _portal(tape: Tape, folder: Path, calendar: Any, sessions: pd.DatetimeIndex) -> DataPortal:
    known = {"start_date": sessions[0], "end_date": sessions[-1], "exchange": "SIM"}
    assets = pd.DataFrame({"symbol": list(tape.bars), **known}, index=range(len(tape.bars)))
    exchanges = pd.DataFrame({"exchange": ["SIM"], "canonical_name": ["SIM"], "country_code": ["US"]})
    database = str(folder / "assets.sqlite")
    AssetDBWriter(database).write(equities=assets, exchanges=exchanges)
    bars = str(folder / "daily.bcolz")
    frames = tape.frames()
    BcolzDailyBarWriter(bars, calendar, sessions[0], sessions[-1]).write(enumerate(frames.values()))
    reader = BcolzDailyBarReader(bars)
    adjustments = str(folder / "adjustments.sqlite")
    splits = [
        {"effective_date": pd.Timestamp(day), "ratio": 1 / ratio, "sid": 0}
        for day, ratio in tape.extra.get("splits", ())
    ]
    frame = pd.DataFrame(splits, columns=["effective_date", "ratio", "sid"])
    frame["effective_date"] = pd.to_datetime(frame["effective_date"])
    with SQLiteAdjustmentWriter(adjustments, reader, overwrite=True) as writer:
        writer.write(splits=frame.astype({"ratio": float, "sid": "int64"}))
    return DataPortal(
        AssetFinder(database),
        trading_calendar=calendar,
        first_trading_day=sessions[0],
        equity_daily_reader=reader,
        adjustment_reader=SQLiteAdjustmentReader(adjustments),
    )
