"""Lets symbols join and leave a run while it goes on, between two instants.

The bars are loaded first, while the run goes on. Then it is held at an instant by its gate, beside its user's own pause;
its timeline is made anew, which changes no completed instant; and it goes on from there. If a strategy asks for it in a
callback, it happens when the callback's instant is complete.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from nbbacktest.core.actions import CorporateAction
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import DataError, LiveRunError, StateError, StrategyError, nearest
from nbbacktest.core.intervals import Interval
from nbbacktest.data.corporate_actions import read_actions
from nbbacktest.data.sources import is_source, load
from nbbacktest.engine.analysis import AnalysisEngine
from nbbacktest.engine.coordinator import Coordinator
from nbbacktest.engine.gate import RunGate
from nbbacktest.engine.series import Series
from nbbacktest.engine.timeline import Timeline, in_callback_order
from nbbacktest.system.run_bars import RunBars
from nbbacktest.system.runner import uninterrupted
from nbbacktest.trading.desk import TradingDesk
from nbbacktest.trading.state import TradingState, restored_series
from nbbacktest.trading.universe import admit, check_admission, check_leave, dismiss, give_notice

Supply = Callable[[str, Any], tuple[list[Series], tuple[CorporateAction, ...]]]
"""Loads one more symbol: its series, base and derived, and its splits and dividends."""

_REST_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Move:
    """A symbol that joined or left.

    Attributes
    ----------
    time : int or None
        The last instant that was completed before, nanoseconds UTC; None before the first.
    """

    symbol: str
    joined: bool
    time: int | None


@dataclass(frozen=True, slots=True)
class RunState:
    """The state of a run's trading and of its universe, as a value that belongs to no run."""

    trading: TradingState
    moves: tuple[Move, ...]
    gone: frozenset[str]


class SymbolUniverse:
    """Lets symbols join and leave one run; for any thread.

    Attributes
    ----------
    moves : list of Move
        In order. Written by the thread that holds the run at an instant.
    by_hand : list of str
        The symbols that joined or left by a command, and not by a strategy's call.
    """

    def __init__(
        self,
        timeline: Timeline,
        desk: TradingDesk,
        gate: RunGate,
        analysis: AnalysisEngine[Any],
        coordinator: Coordinator,
        supply: Supply,
    ) -> None:
        self._timeline = timeline
        self._desk = desk
        self._gate = gate
        self._analysis = analysis
        self._coordinator = coordinator
        self._supply = supply
        self._one_at_a_time = threading.Lock()  # held for every change, except for those that a strategy asks for
        self._gone: set[str] = set()
        self._renumber: Callable[[int], int] = int  # the function that renumbers instants, of the change under way
        self.moves: list[Move] = []
        self.by_hand: list[str] = []
        self._is_left = False  # true once another world has taken the place of this one

    def add(self, symbol: str, data: Any = None) -> bool:
        """Let `symbol` join; returns when it has joined, or, in a strategy's callback, when its bars are loaded.

        Raises
        ------
        ConfigError, DataError
            If it is in the run, has no bars of the run's interval, or the run has come to its end.
        StrategyError
            If an `on_symbol_added` raised.
        """
        self._check_new(symbol)
        joining, actions = self._supply(symbol, data)
        check_admission(self._desk, joining)
        self._between_instants(lambda cursor: self._join(joining, actions, cursor))
        self._note_hand(symbol)
        return True

    def remove(self, symbol: str, positions: str = "refuse") -> bool:
        """Let `symbol` leave; False if it does so later, when its positions are closed.

        Raises
        ------
        DataError
            If it isn't in the run, is the only one, or is held and `positions` is ``"refuse"``.
        StrategyError
            If an `on_symbol_removed` raised.
        """
        self._check_present(symbol)
        check_leave(self._desk, symbol, positions)
        left: list[bool] = []
        self._between_instants(lambda cursor: left.append(self._leave(symbol, positions, cursor)))
        self._note_hand(symbol)
        return all(left)

    def dismiss(self, symbol: str) -> None:
        """Let a symbol that has become flat leave when the instant under way is complete; for the desk."""
        self._analysis.deferred.append(lambda cursor: self._part(symbol, cursor))
        self._gate.call_in()

    def successor(self, replayed: SymbolUniverse, desk: TradingDesk) -> SymbolUniverse:
        """The universe of a world that takes this one's place on the same stages, as its replay has left it."""
        other = SymbolUniverse(
            self._timeline,
            desk,
            self._gate,
            self._analysis,
            self._coordinator,
            replayed._supply,
        )
        other.moves[:], other._gone = replayed.moves, replayed._gone
        self._is_left = True
        return other

    # -- the state of the run's trading ---------------------------------------------------------------------

    def save(self) -> RunState:
        """The state of the run; called while it rests between two instants.

        Raises
        ------
        StateError
            If a strategy keeps an object that can't be copied.
        """
        if self._analysis.deferred:
            raise StateError(
                "strategies have asked for symbols to join or leave, and that waits; save the state after it"
            )
        return RunState(self._desk.save(self._timeline.series), tuple(self.moves), frozenset(self._gone))

    def restore(self, state: RunState) -> int:
        """Go on from `state` in a fresh run, before its first instant; returns the cursor that the caller must set then.

        The gate and the analysis aren't moved: a run whose threads deliver already can't be restored by this alone.

        Raises
        ------
        StateError
            If the fresh run's strategies aren't those that were saved.
        """
        trading = state.trading
        self._analysis.deferred.clear()  # requests of the fresh strategies are in the state already, if they were carried out
        present = {(series.symbol, series.interval): series for series in self._timeline.series}
        series = restored_series(trading.series, present)
        self._renumber = self._timeline.recast(series)
        self._desk.restore(trading, series, self._timeline.instants)
        self.moves[:], self._gone = state.moves, set(state.gone)
        self._go_on(trading.index + 1)
        return trading.index + 1

    # -- at an instant --------------------------------------------------------------------------------------

    def _between_instants(self, action: Callable[[int], object]) -> None:
        if self._gate.is_analyst:
            if self._desk.index + 1 >= len(self._timeline):
                raise DataError("the run is at its last instant; symbols join and leave before it")
            self._analysis.deferred.append(action)
            self._gate.call_in()
            return
        # A run can't go on with a symbol that has joined only in part.
        uninterrupted(lambda: self._hold_and(action))

    def _note_hand(self, symbol: str) -> None:
        if not self._gate.is_analyst:
            self.by_hand.append(symbol)

    def _hold_and(self, action: Callable[[int], object]) -> None:
        with self._one_at_a_time:
            self._gate.while_held(lambda goes_on: self._act(action, goes_on=goes_on), _REST_SECONDS)

    def _act(self, action: Callable[[int], object], *, goes_on: bool) -> None:
        if self._is_left:
            raise DataError("the run was taken to another place meanwhile; ask again")
        if not goes_on:
            raise DataError("the run has ended; symbols join and leave while it goes on")
        if self._gate.cursor >= len(self._timeline):
            raise DataError("the run has completed its last instant; symbols join and leave before that")
        try:
            with self._gate.standing_in():
                action(self._gate.cursor)
                self._analysis.run_deferred(self._gate.cursor)
        except StrategyError as error:
            self._analysis.fail(error)
            raise

    def _join(self, joining: Sequence[Series], actions: Sequence[CorporateAction], cursor: int) -> None:
        self._check_new(joining[0].symbol)  # another thread may have let it join meanwhile
        moment = self._moment(cursor)
        if moment is not None:
            for series in joining:
                series.first = series.n = int((series.columns.end <= moment).sum())
        self._renumber = self._timeline.recast(in_callback_order([*self._timeline.series, *joining]))
        self._note(joining[0].symbol, cursor, joined=True)
        try:
            admit(self._desk, joining, actions, self._timeline.instants)
        finally:
            self._go_on(cursor)

    def _leave(self, symbol: str, positions: str, cursor: int) -> bool:
        self._check_present(symbol)
        check_leave(self._desk, symbol, positions)
        if not give_notice(self._desk, symbol):
            return False
        self._part(symbol, cursor)
        return True

    def _part(self, symbol: str, cursor: int) -> None:
        if symbol in self._gone:
            return
        for series in self._timeline.series:
            if series.symbol == symbol:
                series.hold(series.columns.slice(0, series.n))
                series.is_open = False
        self._renumber = self._timeline.recast(self._timeline.series)
        self._desk.revise(self._timeline.instants)
        self._gone.add(symbol)
        self._note(symbol, cursor, joined=False)
        try:
            dismiss(self._desk, symbol)
        finally:
            self._go_on(cursor)

    def _go_on(self, cursor: int) -> None:
        self._analysis.adopt(cursor)
        self._coordinator.replan(self._renumber)

    def _note(self, symbol: str, cursor: int, *, joined: bool) -> None:
        self.moves.append(Move(symbol, joined, self._moment(cursor)))

    def _moment(self, cursor: int) -> int | None:
        return int(self._timeline.instants[cursor - 1]) if cursor else None

    # -- checks ---------------------------------------------------------------------------------------------

    def _symbols(self) -> list[str]:
        return [series.symbol for series in self._timeline.series if series.is_base]

    def _check_new(self, symbol: str) -> None:
        if not isinstance(symbol, str) or not symbol:
            raise DataError(f"{symbol!r} is no symbol; give a non-empty text")
        if symbol in self._gone:
            raise DataError(f"{symbol} has left this run, and can't join it again; start another run with it")
        if symbol in self._symbols():
            raise DataError(f"{symbol} is in the run already; its symbols are {', '.join(self._symbols())}")

    def _check_present(self, symbol: str) -> None:
        present = [one for one in self._symbols() if one not in self._gone]
        if symbol not in present:
            raise DataError(f"the run has no symbol {symbol!r}; {nearest(str(symbol), present)}")
        if len(present) == 1:
            raise DataError(f"{symbol} is the only symbol; stop the run instead")


class FixedUniverse:
    """The universe of a live run: no symbol joins or leaves, since its feed was asked for its symbols at the beginning."""

    moves: tuple[Move, ...] = ()

    def add(self, symbol: str, data: Any = None) -> NoReturn:  # noqa: ARG002 - as the others have it
        """Refused: raises `LiveRunError`."""
        raise LiveRunError("add a symbol to")

    def remove(self, symbol: str, positions: str = "refuse") -> NoReturn:  # noqa: ARG002 - as the others have it
        """Refused: raises `LiveRunError`."""
        raise LiveRunError("remove a symbol from")

    def dismiss(self, symbol: str) -> NoReturn:  # noqa: ARG002 - as the others have it
        """Refused: raises `LiveRunError`."""
        raise LiveRunError("remove a symbol from")


def supply_of(config: SessionConfig, data: Any, loaded: RunBars) -> Supply:
    """The function that loads one more symbol for the run of `loaded`.

    The symbol gets all the series that the run's symbols have: derived ones, and those of other bases if it has such
    bars. It also gets the warm-up that was asked for every symbol, as far as it has such bars.
    """

    def supply(symbol: str, own: Any) -> tuple[list[Series], tuple[CorporateAction, ...]]:
        run = loaded.market
        source = _source_of(symbol, config, data) if own is None else _named(symbol, own)
        lengths = _lengths_in(symbol, source)
        files = {
            name: other.model_dump(mode="json")
            for name, other in config.data.other_bases.items()
            # A path without {symbol} is another symbol's; bars that were given go before those of a file.
            if "{symbol}" in other.path and name not in lengths
        }
        changes = {"symbols": [symbol], "actions": None, "warmup_bars": 0, "other_bases": files}
        alone = config.overlaid({"data": changes, "strategies": []})
        known = {None, run.interval.name, *config.data.derived_intervals, *files, *lengths}
        needs = [need for need in run.asked if need.symbols is None and need.interval in known]
        market = load(alone, source, needs=needs)
        if market.interval != run.interval:
            raise DataError(f"{symbol} has {market.interval} bars and the run has {run.interval} ones; give such bars")
        given, adjusted = config.data.actions, config.data.adjusted
        own = None if given is None else read_actions(given, (symbol,), required=False, adjusted=adjusted)
        actions = market.actions if own is None else own
        return loaded.joined(RunBars(alone, source, replace(market, stamps=run.stamps, start=run.start))), actions

    return supply


def _source_of(symbol: str, config: SessionConfig, data: Any) -> Any:
    """The source in which the run's own data may have one symbol more; None means that of the config."""
    if isinstance(data, Mapping) or is_source(data):
        return data
    path = data if isinstance(data, (str, Path)) else config.data.path if data is None else ""
    if data is None and path is None:
        return None
    if path is None or ("{symbol}" not in str(path) and not Path(path).expanduser().is_dir()):
        raise DataError(
            f"{symbol} can't be found where the run's data come from; give its bars too: "
            f'add_symbol("{symbol}", data=frame)'
        )
    return data


def _named(symbol: str, own: Any) -> Any:
    """The data given for one symbol, under its name; bars by interval may be given without it."""
    if isinstance(own, Mapping) and own and symbol not in own and all(map(_is_interval, own)):
        return {symbol: own}
    return own


def _lengths_in(symbol: str, source: Any) -> set[str]:
    """The intervals of the bars given for `symbol`, if there are several."""
    parts = source.get(symbol) if isinstance(source, Mapping) else None
    return {Interval.parse(key).name for key in parts if _is_interval(key)} if isinstance(parts, Mapping) else set()


def _is_interval(key: Any) -> bool:
    try:
        Interval.parse(key)
    except DataError:
        return False
    return True
