"""The breakpoints of a manager: they outlast its runs, as a debugger's do, and hold each of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from nbbacktest.core.errors import LiveRunError
from nbbacktest.system.break_terms import Breakpoint, read_terms
from nbbacktest.trading.places import Place

if TYPE_CHECKING:
    from nbbacktest.system.break_terms import Predicate
    from nbbacktest.system.run import Run


class Breakpoints:
    """The breakpoints of one manager, in the order in which they were added. For any thread.

    They hold the present run and later ones, forwards and in the past; `run_back_until` takes one too. No breakpoint ever
    changes a result. A live run isn't held.

    Parameters
    ----------
    present
        Gives the present or last run.
    """

    def __init__(self, present: Callable[[], Run | None]) -> None:
        self._present = present
        self._lock = threading.Lock()  # guards the fields below
        self._all: tuple[Breakpoint, ...] = ()  # replaced, never changed: reading it needs no lock
        self._newest = 0
        self.version = 0
        """Rises with every change."""

    def add(
        self,
        when: Predicate | str | None = None,
        *,
        time: Place | None = None,
        fill: bool | None = None,
        order: bool | int | None = None,
        rejected: bool | None = None,
        session: bool | str | None = None,
        error: bool | None = None,
        drawdown: float | None = None,
        equity: float | None = None,
        symbol: str | None = None,
        strategy: str | None = None,
        once: bool = False,
    ) -> Breakpoint:
        """Hold runs where a condition holds, from now on: exactly one of these, at the end of its instant.

        Parameters
        ----------
        when : callable or str
            A function of a `Snapshot`, asked after each instant: the run rests at every one that it answers with true. If it
            raises, the run rests there too, and `Breakpoint.error` says why. A text says one of the others in words, such as
            ``"fill EXE"``, ``"drawdown 10%"`` or ``"10:30"``.
        time : str, datetime or Timestamp
            A time as `run_until` reads it; a text such as ``"10:30"`` means each day's.
        fill, rejected : bool
            True: each fill; each order that the broker rejects.
        order : bool or int
            True: each order that is submitted; a number: that order's submission.
        session : str
            ``"start"``, which True means too: the first instant of each session; ``"end"``: the last.
        error : bool
            True: an instant at which a strategy raises. The run is held there, as by the config's ``on_error: "pause"``.
        drawdown : float
            Each time that equity comes down by this fraction of its highest value so far.
        equity : float
            Each time that equity crosses this value, either way.
        symbol, strategy : str
            With fill, order and rejected: those of one alone.
        once : bool
            True: it goes with its first hit.

        Raises
        ------
        ValueError
            No kind or several, a value that a kind doesn't take, and what isn't in the run under way.
        LiveRunError
            The run under way is live.
        """
        if not isinstance(once, bool):
            raise ValueError(f"once={once!r}: give True or False")  # noqa: TRY004 - as for the others
        terms = read_terms(
            when, time=time, fill=fill, order=order, rejected=rejected, session=session, error=error,
            drawdown=drawdown, equity=equity, symbol=symbol, strategy=strategy,
        )  # fmt: skip
        run = self._present()
        if run is not None and not run.done:
            from nbbacktest.system.break_places import check_terms

            if run.is_live:
                raise LiveRunError("set a breakpoint in")
            check_terms(terms, run)
        with self._lock:
            self._newest += 1
            made = Breakpoint(self._newest, terms, once=once)
            self._replace((*self._all, made))
        self.follow(run)
        return made

    def remove(self, which: Breakpoint | int) -> None:
        """Remove a breakpoint, or the one of a number.

        Raises
        ------
        ValueError
            There is no such one.
        """
        with self._lock:
            left = tuple(one for one in self._all if one is not which and one.number != which)
            if len(left) == len(self._all):
                have = ", ".join(str(one.number) for one in self._all)
                raise ValueError(f"{which!r} isn't set; " + (f"there are {have}" if have else "no breakpoint is"))
            self._replace(left)

    def clear(self) -> None:
        """Remove all."""
        with self._lock:
            self._replace(())

    @property
    def hit(self) -> tuple[Breakpoint, ...]:
        """Those that hold the present run where it stands."""
        run = self._present()
        return () if run is None else tuple(run.held_by)

    def __iter__(self) -> Iterator[Breakpoint]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, number: int) -> Breakpoint:
        for one in self._all:
            if one.number == number:
                return one
        raise KeyError(number)

    def __repr__(self) -> str:
        return "\n".join(map(repr, self._all)) or "<no breakpoints>"

    # -- inside ---------------------------------------------------------------------------------------------

    def follow(self, run: Run | None) -> None:
        """Hold `run` too, if there are any."""
        if run is None or run.is_live or run.done:
            return
        from nbbacktest.system.break_watch import BreakWatch

        with self._lock:
            if self._all and run.analysis.watch is None:
                run.analysis.watch = BreakWatch(run, self)
        run.gate.call_in()

    def let_go(self, run: Run) -> bool:
        """Stop watching `run` if there are none; called by its analysis."""
        with self._lock:
            if not self._all:
                run.analysis.watch = None
            return not self._all

    def count(self, hits: list[Breakpoint]) -> None:
        """Count these hits; called by the analysis."""
        with self._lock:
            for one in hits:
                one.hits += 1
            if any(one.once for one in hits):
                self._replace(tuple(one for one in self._all if not (one.once and one in hits)))

    def _replace(self, breakpoints: tuple[Breakpoint, ...]) -> None:
        self._all = breakpoints
        self.version += 1
