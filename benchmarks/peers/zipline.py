"""The rule in zipline's words. Its bundle is written before the time starts, and its slippage model fills at the open.

It runs whole sessions: after the last bar its clock goes on to midnight, without prices.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd
from zipline import TradingAlgorithm
from zipline.api import get_datetime, order, set_commission, set_slippage, symbol
from zipline.assets import AssetDBWriter, AssetFinder
from zipline.data.bcolz_minute_bars import BcolzMinuteBarReader, BcolzMinuteBarWriter
from zipline.data.data_portal import DataPortal
from zipline.finance.commission import NoCommission
from zipline.finance.metrics import load
from zipline.finance.slippage import SlippageModel
from zipline.finance.trading import SimulationParameters
from zipline.utils.calendar_utils import get_calendar

from benchmarks.task import CASH, EDGE, FAST, SIZE, SLOW, Outcome, Task

ENGINE = "zipline-reloaded"


class AtOpen(SlippageModel):
    """A bar later, at its open, in full."""

    fills = 0

    def process_order(self, data: Any, order: Any) -> tuple[float, int]:
        self.fills += 1
        return data.current(order.asset, "open"), order.amount


def _portal(folder: Path, frames: dict[str, pd.DataFrame], calendar: Any, sessions: Any) -> DataPortal:
    assets = pd.DataFrame(
        {
            "symbol": list(frames),
            "start_date": sessions[0],
            "end_date": sessions[-1],
            "exchange": "SIM",
        },
        index=range(len(frames)),
    )
    exchanges = pd.DataFrame({"exchange": ["SIM"], "canonical_name": ["SIM"], "country_code": ["US"]})
    database = str(folder / "assets.sqlite")
    AssetDBWriter(database).write(equities=assets, exchanges=exchanges)
    writer = BcolzMinuteBarWriter(str(folder), calendar, sessions[0], sessions[-1], 1440)
    writer.write((number, frame.rename(columns=str.lower)) for number, frame in enumerate(frames.values()))
    return DataPortal(
        AssetFinder(database),
        trading_calendar=calendar,
        first_trading_day=sessions[0],
        equity_minute_reader=BcolzMinuteBarReader(str(folder)),
    )


def _run(task: Task) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        return _trade(task, Path(folder))


def _trade(task: Task, folder: Path) -> Outcome:
    frames = task.frames()
    index = next(iter(frames.values())).index
    calendar = get_calendar("24/7")
    sessions = calendar.sessions_in_range(index[0].tz_localize(None), index[-1].tz_localize(None).normalize())
    portal = _portal(folder, frames, calendar, sessions)
    last, work = index[-1], task.work if task.case == "heavy" else None
    seen, at_open = 0, AtOpen()

    def initialize(context: Any) -> None:
        context.assets = [symbol(name) for name in frames]
        set_commission(NoCommission())
        set_slippage(at_open)

    def handle_data(context: Any, data: Any) -> None:
        nonlocal seen
        seen += 1
        if seen < SLOW or get_datetime() > last:
            return
        if work is not None:
            work()
        for asset in context.assets:
            closes = data.history(asset, "close", SLOW, "1m").to_numpy()
            held = context.portfolio.positions[asset].amount if asset in context.portfolio.positions else 0
            if closes[-FAST:].mean() > closes.mean() + EDGE:
                if not held:
                    order(asset, SIZE)
            elif held:
                order(asset, -held)

    began = perf_counter()
    algorithm = TradingAlgorithm(
        namespace={},
        data_portal=portal,
        trading_calendar=calendar,
        sim_params=SimulationParameters(
            start_session=sessions[0],
            end_session=sessions[-1],
            trading_calendar=calendar,
            capital_base=CASH,
            data_frequency="minute",
            emission_rate="daily",
        ),
        metrics_set=load("default"),
        benchmark_returns=pd.Series(0.0, sessions),
        initialize=initialize,
        handle_data=handle_data,
    )
    equity = float(algorithm.run()["portfolio_value"].iloc[-1])
    return Outcome(perf_counter() - began, equity, at_open.fills)


CASES = dict.fromkeys(("cross", "startup", "many", "heavy"), _run)
