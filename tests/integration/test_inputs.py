"""The laws of inputs by hand: they stand on the run's line, a replay repeats them, undo takes them back, and a result tells of them."""

from __future__ import annotations

import itertools
import json
import random
import threading
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.inputs import Input
from nbbacktest.strategies import MeanReversion, SmaCross
from tests.erratic import RUNS, brokers, differences, events, markets, parts, random_market
from tests.integration.test_rewind import Restless
from tests.live import live_of
from tests.markets import minutes

ALWAYS = {"exchange": "24/7"}


class Settable(nb.Strategy):
    """Has parameters that a hand may change, and trades by them."""

    every: int = 7
    size: float = 3.0

    def on_start(self):
        self.told, self.fills = [], 0

    def on_bar(self, bar):
        if len(self.bars(bar.symbol)) % self.every:
            return
        if self.position(bar.symbol):
            self.close(bar.symbol)
        else:
            self.buy(bar.symbol, self.size, stop_loss=round(bar.close * 19.8) / 20)

    def on_change(self, changed):
        self.told.append(dict(changed))
        self.log(f"told of {sorted(changed)}")

    def on_fill(self, fill):
        self.fills += 1


def by_hand(system, dice, names):
    """Do something by hand, by dice; what is refused is refused."""
    shot = system.snapshot()
    symbol = dice.choice([*shot.counts])
    last = shot.bars[symbol].close if symbol in shot.bars else 100.0
    strategy = dice.choice([None, None, *names])
    what = dice.random()
    with suppress(nb.OrderError, nb.DataError):
        if what < 0.45:
            terms = dice.choice(
                (
                    {}, {"limit": round(last * dice.uniform(0.99, 1.01), 2)}, {"stop": round(last * dice.uniform(0.99, 1.01), 2)},
                    {"stop_loss": round(last * 0.99, 2), "take_profit": round(last * 1.01, 2)}, {"trail": "1%"}, {"tif": "day"},
                    {"tag": "mine"}, {"limit": float("nan")},
                )
            )  # fmt: skip
            dice.choice((system.buy, system.sell))(symbol, dice.choice((1, 2.0, 5, 1e9)), strategy=strategy, **terms)
        elif what < 0.55:
            system.close(symbol, strategy=strategy)
        elif what < 0.7 and shot.orders:
            system.cancel(dice.choice(shot.orders))
        elif what < 0.8 and shot.orders:
            system.replace(dice.choice(shot.orders).id, size=dice.choice((1, 4)))
        elif what < 0.9 and "Settable" in names:
            system.change("Settable", every=dice.randint(2, 9))
        elif len(shot.counts) > 1 and not strategy:
            system.remove_symbol(symbol, dice.choice(("refuse", "close")))


def undo(system, *, redo):
    """Take the last input back, and perhaps bring it back."""
    before, line = parts(system.snapshot()), system.inputs
    if not system.undo():
        assert not system.run.world.n_inputs
        return
    assert len(system.inputs) < len(line)
    assert not system.in_past
    if redo:
        assert system.redo()
        assert (parts(system.snapshot()), system.inputs) == (before, line)


def play(system, dice, moves, names, late=None):
    """Go to and fro and act by hand, by dice; every place is the same however it is reached, and as `look` computes it."""
    seen, added = {}, late is None
    total = len(system.run.world.timeline)
    for _ in range(moves):
        shot = system.snapshot()
        applied = system.run.world.n_inputs
        now = parts(shot)
        assert seen.setdefault((shot.cursor, repr(system.inputs[:applied])), now) == now
        what = dice.random()
        if what < 0.3:
            count = len(system.inputs)
            by_hand(system, dice, names)
            shot = system.snapshot()
            assert differences(shot, system.look(shot.cursor)) == {}
            assert len(system.inputs) <= count or not system.in_past
        elif what < 0.35 and not added:
            added = True
            with suppress(nb.DataError):
                system.add_symbol("LATE", late)
        elif what < 0.45:
            undo(system, redo=dice.random() < 0.5)
        elif what < 0.65 and shot.cursor < total:
            if not system.step(min(dice.choice((1, 5, 30)), total - shot.cursor)):
                assert system.is_stopped()
                return
        elif what < 0.8:
            system.rewind(dice.randint(0, system.horizon))
        elif shot.cursor:
            n = dice.randint(1, shot.cursor)
            before, line = parts(shot), system.inputs
            assert system.back(n)
            assert system.step(n)
            assert (parts(system.snapshot()), system.inputs) == (before, line)
        assert system.is_paused()


def headless(config, data, strategies, inputs, late=None):
    """The same origin and line, in another run: stepped to each place, where the input is done."""
    system = nb.SystemManager(reachable=False)
    system.start(config, data=data, strategies=strategies, paused=True)
    refused = []
    for one in inputs:
        if (n := one.place.cursor - system.snapshot().cursor) > 0:
            assert system.step(n)
        arguments = dict(one.arguments)
        with suppress(nb.OrderError, nb.DataError):
            call = getattr(system, str(one.what))
            if one.what == "add_symbol":
                call(arguments["symbol"], late)
            elif one.what in ("cancel", "replace"):
                call(arguments.pop("id"), **arguments)
            elif one.what == "remove_symbol":
                call(**arguments)
            else:
                call(**arguments, strategy=one.strategy)
            refused.append(False)
            continue
        refused.append(True)
    if system.is_paused():
        system.resume()
    return system.wait(), system.inputs, refused


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("threads", ["on", "off"])
@settings(max_examples=RUNS)
@given(markets, brokers, events(["2024-10-04"], ["S0", "S1"]), st.integers(0, 10**6), st.booleans(), st.booleans())
def test_a_line_with_inputs_is_one_history(threads, market, broker, actions, seed, sessions, joining):
    """Laws 1 to 5 and 7, over orders, accounts, sessions, actions, symbols that join and leave, and inputs of each kind."""
    config, data, late = random_market(market, broker, actions, seed)

    def strategies():
        return [Restless(seed=seed, sessions=sessions, late=late), Settable()]

    with pytest.MonkeyPatch.context() as patch:
        if threads == "off":
            patch.setenv("NBBACKTEST_THREADS", "off")
        system = nb.SystemManager(reachable=False)
        system.start(config, data=data, strategies=strategies(), paused=True)
        try:
            play(system, random.Random(seed), 30, ("Restless", "Settable"), late if joining else None)
            if system.is_paused():
                system.resume()
            result = system.wait(20)
            again, line, _ = headless(config, data, strategies(), system.inputs, late)
            assert again.fingerprint == result.fingerprint
            assert [one._replace(time=None) for one in line] == [one._replace(time=None) for one in system.inputs]
            # a post-mortem: the run that has ended goes back, and comes to the same end
            if system.horizon:
                assert system.rewind(random.Random(seed).randint(0, system.horizon - 1))
                assert system.is_paused()
                system.resume()
                assert system.wait(20).fingerprint == result.fingerprint
        finally:
            if not system.is_stopped():
                system.stop()


def test_the_hand_has_a_seat_of_its_own(system):
    """Its positions are its own, the cash is shared, and no strategy is told."""
    system.start(ALWAYS, data=minutes(300), strategies=Settable(every=1000), paused=True)
    system.step(10)
    row = system.buy(size=5, tag="mine")
    assert (row.id, row.strategy, row.size, row.tag) == (1, "hand", 5.0, "mine")
    system.step()
    shot = system.snapshot()
    assert [(one.strategy, one.size) for one in shot.positions] == [("hand", 5.0)]
    assert shot.cash < 100_000
    assert system.strategies[0].fills == 0
    assert [type(one).__name__ for one in system.strategies] == ["Settable"]
    assert system.close().size == 5
    system.step()
    assert system.close() is None
    assert [one.what for one in system.inputs] == ["buy", "close", "close"]
    system.stop()
    assert system.wait().strategies == ("Settable(every=1000, size=3.0)",)


def test_an_order_in_a_strategys_name_is_its_own(system):
    """Law 13: it fills as the strategy's own would, and the strategy is told of it."""

    class Buys(Settable):
        def on_bar(self, bar):
            if len(self.bars()) == 10:
                self.buy(size=4, limit=bar.close)

    expected = nb.backtest(minutes(300), Buys, config=ALWAYS)
    system.start(ALWAYS, data=minutes(300), strategies=Settable(every=1000), paused=True)
    system.step(10)
    (bar,) = system.snapshot().bars.values()
    system.buy(size=4, limit=bar.close, strategy="Settable")
    system.resume()
    result = system.wait()
    columns = ["time", "side", "size", "price", "commission"]
    assert result.fills[columns].equals(expected.fills[columns])
    assert system.strategies[0].fills == len(result.fills) == 1


def test_a_parameter_is_changed_by_hand_and_the_result_says_so(system):
    system.start(ALWAYS, data=minutes(300), strategies=Settable, paused=True)
    system.step(20)
    assert system.change(every=3) == {"every": 3}
    assert system.change(every=3, size=3.0) == {}
    assert system.strategies[0].told == [{"every": 3}]
    system.back(5)
    assert (system.strategies[0].every, system.strategies[0].told) == (7, [])
    system.step(5)
    assert (system.strategies[0].every, system.strategies[0].told) == (3, [{"every": 3}])
    system.stop()
    result = system.wait()
    assert result.strategies == ("Settable(every=7, size=3.0) -> every=3",)


def test_a_change_without_on_change_says_what_stays(system):
    class Deaf(nb.Strategy):
        length: int = 9

        def on_bar(self, bar):
            pass

    system.start(ALWAYS, data=minutes(300), strategies=Deaf, paused=True)
    system.step(20)
    system.change(length=3)
    system.stop()
    (line,) = system.wait().log["message"]
    assert line == "length=3 by hand; what on_start made of the old values stays: Deaf has no on_change"


@pytest.mark.parametrize(("kind", "params"), [(SmaCross, {"fast": 5}), (MeanReversion, {"period": 5, "width": 1.0})])
def test_an_example_takes_a_change(system, kind, params):
    """From its place on, it computes as one that was begun with it."""
    system.start(ALWAYS, data={"A": minutes(300), "B": minutes(300, seed=2)}, strategies=kind, paused=True)
    system.step(100)
    system.change(**params)
    system.step(50)
    after = parts(system.snapshot())
    other = nb.SystemManager(reachable=False)
    other.start(ALWAYS, data={"A": minutes(300), "B": minutes(300, seed=2)}, strategies=kind, paused=True, **params)
    other.step(150)
    wanted = other.snapshot().indicators
    other.stop()
    assert {name: system.snapshot().indicators[name] for name in wanted} == wanted
    system.back(100)
    system.step(100)
    assert parts(system.snapshot()) == after


def test_a_new_input_in_the_past_gives_up_what_lay_ahead(system):
    system.start(ALWAYS, data=minutes(300), strategies=nb.ByHand, paused=True)
    system.step(10)
    system.buy(size=1)
    system.step(10)
    system.buy(size=2)
    system.step(10)
    system.rewind(15)
    assert (system.in_past, system.horizon, len(system.inputs)) == (True, 30, 2)
    system.sell(size=1)
    assert (system.in_past, system.horizon) == (False, 15)
    assert [one.what for one in system.inputs] == ["buy", "sell"]
    assert system.redo() is False


def test_before_an_input_it_is_not_done_yet(system):
    system.start(ALWAYS, data=minutes(300), strategies=nb.ByHand, paused=True)
    system.step(10)
    system.buy(size=1)
    system.buy(size=2)
    system.step(10)
    after = parts(system.snapshot())
    assert system.rewind(input=-1, before=True)
    assert [one.size for one in system.snapshot().orders] == [1]
    assert (system.snapshot().cursor, system.in_past, len(system.inputs)) == (10, True, 2)
    assert system.step(10)
    assert parts(system.snapshot()) == after
    with pytest.raises(ValueError, match="numbered 0 to 1"):
        system.rewind(input=2)


def test_what_a_strategy_is_asked_from_outside_is_refused(system):
    """An order that nothing records would change the result."""
    system.start(ALWAYS, data=minutes(300), strategies=Settable, paused=True)
    system.step(20)
    one = system.strategies[0]
    for call in (
        lambda: one.buy(size=7), lambda: one.sell(size=7), lambda: one.order_target_size(3),
        lambda: one.cancel(one.orders()[0]), lambda: one.replace(one.orders()[0], size=1), lambda: one.add_symbol("C"),
    ):  # fmt: skip
        with suppress(IndexError), pytest.raises(nb.OrderError, match=r"use system.buy\(..., strategy='Settable'\)"):
            call()
    assert system.inputs == ()
    assert system.back(5)


def test_a_parameter_that_is_set_from_outside_is_set_back(system):
    """The run is held where it would have gone on with it; a change by hand, and a strategy's own, are none of that."""

    class Own(Settable):
        def on_bar(self, bar):
            self.every += 1

    system.start(ALWAYS, data=minutes(300), strategies=Own, paused=True)
    system.step(20)
    (one,) = system.strategies
    assert one.every == 27
    one.every, one.told = 99, ["looked at"]  # what isn't a parameter is the strategy's own affair
    assert system.step(5) is False
    assert isinstance(system.error, nb.OrderError)
    assert "use system.change('Own', every=99)" in str(system.error)
    assert (system.is_paused(), system.snapshot().cursor, one.every) == (True, 20, 27)
    assert system.step(5)
    assert (system.error, one.every) == (None, 32)
    system.change(every=50)
    assert system.step(5)
    assert one.every == 55
    system.back(5)
    system.strategies[0].every = 7
    assert system.run_until(lambda _shot: False) is False
    assert isinstance(system.error, nb.OrderError)
    assert system.is_paused()


def test_inputs_that_make_no_sense_are_refused(system):
    """A refused order stands on the line, and is refused again; what means nothing of the run isn't one."""
    with pytest.raises(RuntimeError):
        system.buy(size=1)
    assert system.start(ALWAYS, data=minutes(300), strategies=Settable, paused=True)
    system.step(20)
    for call, error, text in (
        (lambda: system.buy(size=1, strategy="Setable"), nb.OrderError, "did you mean 'Settable'"),
        (lambda: system.buy("NOPE", 1), nb.OrderError, "no symbol 'NOPE'"),
        (lambda: system.cancel(99), nb.OrderError, "no order 99"),
        (lambda: system.replace("x", size=1), nb.OrderError, "no order 'x'"),
        (lambda: system.buy(size=1, limits=3), TypeError, "limits"),
        (lambda: system.buy(size=1, until=object()), nb.OrderError, "can't be written down"),
        (lambda: system.change(evry=3), nb.ConfigError, "evry"),
        (lambda: system.change(every="x"), nb.ConfigError, "every"),
    ):
        with pytest.raises(error, match=text):
            call()
    assert system.inputs == ()
    for call in (
        lambda: system.buy(size=-1),
        lambda: system.buy(size=1, limit=float("inf")),
    ):
        with pytest.raises(nb.OrderError):
            call()
    count = len(system.inputs)
    system.step(5)
    assert system.back(10)
    assert system.step(10)
    assert len(system.inputs) == count


def test_numbers_of_numpy_and_times_are_written_as_json(system):
    system.start(ALWAYS, data=minutes(300), strategies=nb.ByHand, paused=True)
    system.step(20)
    until = pd.Timestamp("2030-01-01", tz="UTC")
    system.buy(size=np.int64(3), limit=np.float64(50.0), tif="gtd", until=until)
    (one,) = system.inputs
    assert Input.from_dict(one.to_dict()) == one
    assert dict(one.arguments) == {"size": 3, "limit": 50.0, "tif": "gtd", "until": until.isoformat()}
    assert repr(one).startswith("<Input buy(size=3")


def test_a_running_run_takes_inputs_and_goes_on(system):
    system.start(ALWAYS, data=minutes(20_000), strategies=nb.ByHand, paused=True)
    system.step(5)
    system.set_speed(60.0 * 600)
    system.resume()
    system.buy(size=1)
    assert system.is_running()
    system.set_speed(0)
    result = system.wait()
    assert [*result.fills["strategy"]] == ["hand"]


def test_two_threads_that_act_at_once_are_one_after_the_other():
    system = nb.SystemManager(reachable=False)
    system.start(ALWAYS, data=minutes(300), strategies=nb.ByHand, paused=True)
    system.step(20)
    threads = [threading.Thread(target=system.buy, kwargs={"size": n}) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.arguments["size"] for one in system.inputs) == list(range(1, 9))
    assert [one.place.inputs for one in system.inputs] == list(range(8))
    system.step(5)
    after = parts(system.snapshot())
    system.back(10)
    system.step(10)
    assert parts(system.snapshot()) == after
    system.stop()


def test_a_live_run_is_not_traded_by_hand():
    system = nb.SystemManager(reachable=False)
    system.start(live_of(ALWAYS | {"data": {"symbols": ["A"]}}), feed=nb.PushFeed(), strategies=SmaCross)
    try:
        for call in (lambda: system.buy(size=1), system.undo, system.redo, lambda: system.rewind("start")):
            with pytest.raises(nb.LiveRunError):
                call()
        assert system.inputs == ()
    finally:
        system.stop()


class Fails(nb.Strategy):
    """Fails at its hundredth bar."""

    def on_bar(self, bar):
        if len(self.bars()) == 30:
            self.buy(size=1)
        if len(self.bars()) == 100:
            raise ZeroDivisionError


def test_a_run_that_failed_is_taken_back_to_before_its_error(system):
    """The post-mortem: it rests before the instant that raised, and raises there again."""
    system.start(ALWAYS, data=minutes(300), strategies=Fails)
    with pytest.raises(nb.StrategyError):
        system.wait()
    states = []
    forget = system.on_state(lambda state: states.append(str(state)))
    assert system.horizon == 99
    assert system.back()
    forget()
    assert (system.snapshot().cursor, system.is_paused(), system.error) == (99, True, None)
    assert system.back(20)
    assert system.snapshot().positions[0].size == 1
    assert system.rewind("end")
    assert system.snapshot().cursor == 99
    assert system.step() is False
    assert isinstance(system.error, nb.StrategyError)
    assert system.is_stopped()


def test_a_stopped_run_that_does_not_repeat_itself_stays_stopped(system):
    class Forgets(nb.Strategy):
        counts = itertools.count()

        def on_bar(self, bar):
            if next(self.counts) % 7 == 0:
                self.buy(size=1)

    system.start(ALWAYS, data=minutes(100), strategies=Forgets, wait=True)
    before, run = parts(system.snapshot()), system.run
    states = []
    forget = system.on_state(states.append)
    with pytest.raises(nb.ReplayError):
        system.back(30)
    with pytest.raises(ValueError, match="100 instants are completed"):
        system.back(101)
    assert system.is_stopped()
    assert system.run is run
    assert parts(system.snapshot()) == before
    assert system.wait().fingerprint
    forget()
    assert states == []


def test_a_result_says_what_was_done_by_hand(tmp_path):
    """The fingerprint covers it, files keep it, and every face says it."""

    def played(*, more):
        system = nb.SystemManager(reachable=False)
        system.start(ALWAYS, data={"A": minutes(300)}, strategies=nb.ByHand, paused=True)
        system.step(10)
        system.buy(size=5, tag="x")
        system.step(20)
        if more:
            system.sell(size=5, limit=1e6)  # never fills
        system.resume()
        return system.wait()

    one, other, more = played(more=False), played(more=False), played(more=True)
    assert (one.recipe, one.fingerprint) == (other.recipe, other.fingerprint)
    assert more.fills.equals(one.fills)
    assert (more.recipe, more.fingerprint) != (one.recipe, one.fingerprint)
    assert more.fingerprint != one.fingerprint
    (row,) = one.inputs.to_dict("records")
    assert (row["cursor"], row["what"], row["arguments"], row["by"]) == (10, "buy", {"size": 5, "tag": "x"}, "python")
    assert "with 2 inputs by hand" in repr(more)
    assert "with 1 input by hand" in one._repr_html_()
    assert "with 1 input by hand" in one.report(tmp_path / "report.html").read_text()
    loaded = nb.Result.load(one.save(tmp_path / "run.nbbt"))
    assert (loaded.recipe, loaded.fingerprint) == (one.recipe, one.fingerprint)
    assert loaded.inputs.equals(one.inputs)
    assert json.loads(one.to_json())["inputs"][0]["what"] == "buy"
    plain = nb.backtest(minutes(300), nb.ByHand, config=ALWAYS)
    assert plain.inputs.empty
    assert "by hand" not in repr(plain).replace("ByHand", "")


def test_a_recipe_covers_config_bars_parameters_and_code():
    class Other(Settable):
        def on_bar(self, bar):
            pass

    data = minutes(100)
    runs = [
        nb.backtest(data, Settable, config=ALWAYS), nb.backtest(data, Settable, config=ALWAYS | {"broker": {"cash": 1.0}}),
        nb.backtest(data, Settable, config=ALWAYS, every=8), nb.backtest(data, Other, config=ALWAYS),
        nb.backtest(data.iloc[:-1], Settable, config=ALWAYS), nb.backtest(data.assign(volume=1.0), Settable, config=ALWAYS),
    ]  # fmt: skip
    assert len({run.recipe for run in runs}) == len(runs)
    assert nb.backtest(data, Settable, config=ALWAYS).recipe == runs[0].recipe


class Dice(nb.Strategy):
    """Trades by random numbers."""

    def on_bar(self, bar):
        if self.random.random() < 0.2:
            self.close() if self.position() else self.buy(size=int(self.random.integers(1, 9)))


def test_a_strategys_random_numbers_are_the_runs(system):
    """Every world draws the same, by the seed and the strategy's name."""
    seeds = [nb.backtest(minutes(200), Dice, config=ALWAYS | {"seed": seed}).fingerprint for seed in (0, 0, 1)]
    assert seeds[0] == seeds[1] != seeds[2]
    system.start(ALWAYS, data=minutes(200), strategies=[Dice, Dice], paused=True)
    system.step(100)
    drawn = parts(system.snapshot())
    assert {row.strategy for row in system.snapshot().last_fills} == {"Dice", "Dice #2"}
    system.back(60)
    system.step(60)
    assert parts(system.snapshot()) == drawn


def test_a_strategy_may_keep_its_own_random():
    class Own(nb.Strategy):
        def on_start(self):
            self.random = random.Random(1)

        def on_bar(self, bar):
            self.log(self.random.randint(1, 6))

    assert len(nb.backtest(minutes(20), Own, config=ALWAYS).log) == 20
