"""Where breakpoints hold, by brute force: a run is driven instant by instant, and every snapshot is looked at."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.lifecycle import Command, Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.engine.timeline import Window
from nbbacktest.system.break_terms import read_terms
from nbbacktest.system.builder import build
from nbbacktest.system.run import Run
from nbbacktest.system.status import status
from tests.erratic import Erratic


class Roaming(Erratic):
    """Does anything that a strategy may, symbols that join and leave included."""

    @property
    def universe(self):
        return SimpleNamespace(add=self.add_symbol, remove=self.remove_symbol)


class Witness:
    """A run, an instant at a time in this thread, with all that was published and all that had happened by then."""

    def __init__(self, config, data, strategies):
        life = Lifecycle()
        stages = build(SessionConfig.load(config), life, Monitor(), data=data, strategies=strategies, window=1)
        self.run = Run(stages, lambda run: status(nb.SystemState.STOPPED, run), lambda run: None)
        self.desk = stages.world.desk
        life.apply(Command.START)
        self.shots, self.fills, self.orders, self.rejected = [], [], [], []
        analysis = stages.analysis
        try:
            assert analysis.begin(), analysis.error
            self.note()
            while not stages.gate.closed and (cursor := analysis.frame.cursor) < len(stages.world.timeline):
                for batch in stages.processor.batches(Window(cursor, cursor + 1, stages.gate.generation, None)):
                    analysis.process(batch)
                assert analysis.error is None, analysis.error
                assert analysis.frame.cursor > cursor
                self.note()
        finally:
            analysis.finish()

    def note(self):
        desk = self.desk
        self.shots.append(self.run.published())
        self.fills.append(len(desk.fills))
        self.orders.append(len(desk.orders))
        self.rejected.append({order.id for order in desk.orders if order.status == "rejected"})

    def places(self, terms):
        """Where the terms hold, by what each instant showed."""
        found = []
        peak, was_told = self.shots[0].equity, False
        for cursor, (before, shot) in enumerate(itertools.pairwise(self.shots), start=1):
            after = self.shots[cursor + 1] if cursor + 1 < len(self.shots) else None
            is_new = shot.equity > peak
            peak = max(peak, shot.equity)
            is_down = terms.kind == "drawdown" and peak > 0 and peak - shot.equity >= terms.value * peak
            was_told = was_told and not is_new
            holds = {
                "when": lambda shot=shot: terms.value(shot),
                "equity": lambda before=before, shot=shot: (before.equity < terms.value) != (shot.equity < terms.value),
                "drawdown": lambda is_down=is_down, was_told=was_told: is_down and not was_told,
                "session": lambda before=before, shot=shot, after=after: (
                    before.session_date != shot.session_date
                    if terms.value == "start"
                    else after is None or after.session_date != shot.session_date
                ),
                "fill": lambda cursor=cursor: any(
                    map(self.concerned(terms), self.desk.fills[self.fills[cursor - 1] : self.fills[cursor]])
                ),
                "order": lambda cursor=cursor: any(
                    map(self.concerned(terms), self.desk.orders[self.orders[cursor - 1] : self.orders[cursor]])
                ),
                "rejected": lambda cursor=cursor: any(
                    self.concerned(terms)(self.desk.orders[number - 1])
                    for number in self.rejected[cursor] - self.rejected[cursor - 1]
                ),
            }[terms.kind]()
            was_told = was_told or is_down
            if holds:
                found.append(cursor)
        return found

    @staticmethod
    def concerned(terms):
        def one(event):
            fits = event.symbol == (terms.symbol or event.symbol) and event.strategy == (
                terms.strategy or event.strategy
            )
            return fits and (terms.kind != "order" or terms.value is True or event.id == terms.value)

        return one


def kinds(symbols):
    """Terms of every kind but times, which have a law of their own."""
    of = st.fixed_dictionaries(
        {},
        optional={
            "symbol": st.sampled_from(symbols),
            "strategy": st.sampled_from(["Roaming", "Roaming #2"]),
        },
    )
    conditions = st.sampled_from(
        [
            lambda shot: shot.equity < 2_990,
            lambda shot: "S0" in shot.bars and shot.bars["S0"].close > 100,
            lambda shot: not shot.positions,
            lambda shot: len(shot.orders) > 3,
            lambda shot: shot.n_fills % 7 == 3,
            lambda shot: shot.cash < 1_000,
            lambda shot: any(fill.side == "sell" for fill in shot.last_fills),
            lambda shot: shot.time.minute % 17 == 0 and shot.progress < 0.7,
            lambda shot: any(value > 100 for value in shot.indicators.values() if isinstance(value, float)),
        ]
    )
    return st.one_of(
        *(st.tuples(st.just({kind: True}), of) for kind in ("fill", "order", "rejected")),
        st.tuples(st.fixed_dictionaries({"order": st.integers(1, 60)}), st.just({})),
        st.tuples(st.fixed_dictionaries({"session": st.sampled_from(["start", "end"])}), st.just({})),
        st.tuples(
            st.fixed_dictionaries({"equity": st.sampled_from([2_995.0, 3_000.0, 99_990.0, 100_000.0])}), st.just({})
        ),
        st.tuples(st.fixed_dictionaries({"drawdown": st.sampled_from([1e-5, 1e-4, 1e-3, 0.01])}), st.just({})),
        st.tuples(st.fixed_dictionaries({"when": conditions}), st.just({})),
    ).map(lambda pair: read_terms(**pair[0], **pair[1]))
