"""Lets symbols join and leave a run while it goes on, between two instants.

The bars are loaded first, while the run goes on. Then it is held at an instant by its gate, beside its user's own pause;
its timeline is made anew, which changes no completed instant; and it goes on from there. If a strategy asks for it in a
callback, it happens when the callback's instant is complete. If its user does, it is an input by hand: see `system.inputs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from nbbacktest.core.actions import CorporateAction
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import DataError, LiveRunError, StateError, nearest
from nbbacktest.core.intervals import Interval
from nbbacktest.data.corporate_actions import read_actions
from nbbacktest.data.sources import is_source, load
from nbbacktest.engine.analysis import AnalysisEngine
from nbbacktest.engine.coordinator import Coordinator
from nbbacktest.engine.gate import RunGate
from nbbacktest.engine.timeline import Timeline, in_callback_order
from nbbacktest.system.run_bars import RunBars
from nbbacktest.trading.by_hand import reopen
from nbbacktest.trading.desk import TradingDesk
from nbbacktest.trading.state import TradingState, restored_series
from nbbacktest.trading.universe import admit, check_admission, check_leave, dismiss, give_notice


class SymbolBars(NamedTuple):
    """The bars of a symbol that may join, for any world of the run: base and derived ones, its splits and dividends."""

    bars: RunBars
    actions: tuple[CorporateAction, ...]


Supply = Callable[[str, Any], SymbolBars]
"""Loads one more symbol."""


_AT_END = "the run has completed its last instant; symbols join and leave before that"


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
    descriptions: tuple[str, ...]


class SymbolUniverse:
    """Lets symbols join and leave one run. Used by the thread that holds the run at an instant, except for `load`.

    Parameters
    ----------
    bars
        Those of the world, which a symbol joins.
    supply
        Loads a symbol that isn't in the run.

    Attributes
    ----------
    moves : list of Move
        In order.
    """

    def __init__(
        self,
        timeline: Timeline,
        desk: TradingDesk,
        gate: RunGate,
        analysis: AnalysisEngine[Any],
        coordinator: Coordinator,
        bars: RunBars,
        supply: Supply,
    ) -> None:
        self._desk = desk
        self._bars = bars
        self._supply = supply
        self._gone: set[str] = set()
        self._renumber: Callable[[int], int] = int  # the function that renumbers instants, of the change under way
        self.moves: list[Move] = []
        self.put_on(timeline, gate, analysis, coordinator)

    def put_on(
        self, timeline: Timeline, gate: RunGate, analysis: AnalysisEngine[Any], coordinator: Coordinator
    ) -> None:
        """Go on with other stages, which its world was put on."""
        self._timeline, self._gate, self._analysis, self._coordinator = timeline, gate, analysis, coordinator

    def load(self, symbol: str, data: Any = None) -> SymbolBars:
        """Load the bars of a symbol that is to join; from any thread, while the run goes on.

        Raises
        ------
        ConfigError, DataError
            If it is in the run, or has no bars of the run's interval.
        """
        self._check_new(symbol)
        found = self._supply(symbol, data)
        check_admission(self._desk, found.bars.series())
        return found

    def add(self, symbol: str, data: Any = None) -> bool:
        """Let `symbol` join when the instant under way is complete; for a strategy's callback.

        Raises
        ------
        ConfigError, DataError
            As for `load`, and if the run is at its last instant.
        """
        found = self.load(symbol, data)
        self._between_instants("the run is at its last instant; symbols join and leave before it")
        self._defer(lambda _cursor: self.join(symbol, found))
        return True

    def remove(self, symbol: str, positions: str = "refuse") -> bool:
        """Let `symbol` leave when the instant under way is complete; for a strategy's callback.

        Raises
        ------
        DataError
            If it isn't in the run, is the only one, or is held and `positions` is ``"refuse"``.
        """
        self.check_leave(symbol, positions, "the run is at its last instant; symbols join and leave before it")
        self._defer(lambda _cursor: self.leave(symbol, positions))
        return True

    def join(self, symbol: str, found: SymbolBars) -> bool:
        """Let `symbol` join now, between two instants.

        Raises
        ------
        DataError
            If it is in the run, or the run has completed its last instant.
        StrategyError
            If an `on_symbol_added` raised.
        """
        cursor = self.check_join(symbol)  # another thread may have been faster
        joining = self._bars.joined(found.bars)
        moment = self._moment(cursor)
        if moment is not None:
            for series in joining:
                series.first = series.n = int((series.columns.end <= moment).sum())
        self._renumber = self._timeline.recast(in_callback_order([*self._timeline.series, *joining]))
        self._note(symbol, cursor, joined=True)
        try:
            admit(self._desk, joining, found.actions, self._timeline.instants)
        finally:
            self._go_on(cursor)
        return True

    def leave(self, symbol: str, positions: str = "refuse") -> bool:
        """Let `symbol` leave now, between two instants; False if it does so later, when its positions are closed.

        Raises
        ------
        DataError
            If it isn't in the run, is the only one, is held and `positions` is ``"refuse"``, or the run has completed its
            last instant.
        StrategyError
            If an `on_symbol_removed` raised.
        """
        cursor = self.check_leave(symbol, positions)
        if not give_notice(self._desk, symbol):
            return False
        self._part(symbol, cursor)
        return True

    def dismiss(self, symbol: str) -> None:
        """Let a symbol that has become flat leave when the instant under way is complete; for the desk."""
        self._analysis.deferred.append(lambda cursor: self._part(symbol, cursor))
        self._gate.call_in()

    # -- the state of the run's trading ---------------------------------------------------------------------

    @property
    def is_waiting(self) -> bool:
        """True if strategies have asked for symbols to join or leave, and that waits for the end of the instant."""
        return bool(self._analysis.deferred)

    def save(self) -> RunState:
        """The state of the run; called while it rests between two instants.

        Raises
        ------
        StateError
            If a strategy keeps an object that can't be copied.
        """
        if self.is_waiting:
            raise StateError(
                "strategies have asked for symbols to join or leave, and that waits; save the state after it"
            )
        return RunState(
            self._desk.save(self._timeline.series), tuple(self.moves), frozenset(self._gone), self._desk.descriptions
        )

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
        reopen(self._desk, trading.hand)
        self._desk.restore(trading, series, self._timeline.instants)
        self.moves[:], self._gone = state.moves, set(state.gone)
        self._desk.descriptions = state.descriptions
        self._go_on(trading.index + 1)
        return trading.index + 1

    # -- at an instant --------------------------------------------------------------------------------------

    def check_join(self, symbol: str) -> int:
        """Refuse what `join` refuses; returns the number of completed instants."""
        self._check_new(symbol)
        return self._between_instants()

    def check_leave(self, symbol: str, positions: str, end: str = _AT_END) -> int:
        """Refuse what `leave` refuses; returns the number of completed instants."""
        self._check_present(symbol)
        check_leave(self._desk, symbol, positions)
        return self._between_instants(end)

    def _defer(self, action: Callable[[int], object]) -> None:
        self._analysis.deferred.append(action)
        self._gate.call_in()

    def _between_instants(self, end: str = _AT_END) -> int:
        """The number of completed instants; refused after the last one, with the words `end`."""
        cursor = self._desk.index + 1
        if cursor >= len(self._timeline):
            raise DataError(end)
        return cursor

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

    load = join = check_join = add

    def remove(self, symbol: str, positions: str = "refuse") -> NoReturn:  # noqa: ARG002 - as the others have it
        """Refused: raises `LiveRunError`."""
        raise LiveRunError("remove a symbol from")

    leave = check_leave = remove

    def dismiss(self, symbol: str) -> NoReturn:  # noqa: ARG002 - as the others have it
        """Refused: raises `LiveRunError`."""
        raise LiveRunError("remove a symbol from")


def supply_of(config: SessionConfig, data: Any, loaded: RunBars) -> Supply:
    """The function that loads one more symbol for the run of `loaded`.

    The symbol gets all the series that the run's symbols have: derived ones, and those of other bases if it has such
    bars. It also gets the warm-up that was asked for every symbol, as far as it has such bars. A symbol of the run's own
    source is loaded once for all worlds of these bars.
    """

    def supply(symbol: str, own: Any) -> SymbolBars:
        if own is not None:
            return read(symbol, own)
        found: SymbolBars | None = loaded.found.get(symbol)
        if found is None:
            found = loaded.found[symbol] = read(symbol, None)
        return found

    def read(symbol: str, own: Any) -> SymbolBars:
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
        return SymbolBars(RunBars(alone, source, replace(market, stamps=run.stamps, start=run.start)), actions)

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
