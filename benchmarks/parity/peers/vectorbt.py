"""A tape on vectorbt: entries at the close of their bar where nothing is held, exits by its stops from the next bar on."""

from __future__ import annotations

import pandas as pd
import vectorbt as vbt

from benchmarks.parity.tape import Tape

ENGINE = "vectorbt"


def run(tape: Tape) -> tuple[list[tuple[str, str, float, float]], float]:
    """Fills and final equity."""
    ((name, frame),) = tape.frames().items()
    ways = pd.Series(0.0, frame.index)
    for order in tape.orders:
        ways.iloc[order["after"] - 1] = order["size"]
    made = vbt.Portfolio.from_signals(
        frame["close"],
        entries=ways > 0,
        short_entries=ways < 0,
        size=abs(tape.orders[0]["size"]),
        open=frame["open"],
        high=frame["high"],
        low=frame["low"],
        sl_stop=tape.extra["stop_loss"],
        sl_trail=tape.extra["trails"],
        tp_stop=tape.extra.get("take_profit"),
        upon_opposite_entry="ignore",
        init_cash=tape.cash,
    )
    records = made.orders.records_readable
    fills = [
        (
            str(pd.Timestamp(row["Timestamp"]).date()),
            name,
            float(row["Size"]) if row["Side"] == "Buy" else -float(row["Size"]),
            float(row["Price"]),
        )
        for _, row in records.iterrows()
    ]
    return fills, float(made.final_value())
