"""Faults that are planted into the engine's protocol and its monitor, one at a time: what finds no fault must be able to find these."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from nbbacktest.core.monitor import Flag, Monitor
from nbbacktest.engine.analysis import AnalysisEngine
from nbbacktest.engine.coordinator import SessionCoordinator
from nbbacktest.engine.gate import RunGate
from nbbacktest.engine.gate_state import GateState
from nbbacktest.engine.loader import ChunkLoader
from nbbacktest.engine.processor import DataProcessor
from nbbacktest.engine.subscription import Link, StreamSubscription
from nbbacktest.system.run import Run

NOTIFY = "self._changed.notify_all()"
NEWS = "self.has_news = True"


class Mutant(NamedTuple):
    """A change of one method's text.

    Attributes
    ----------
    method : function
        As it is in its class.
    before, after : str
        The first place in its text that reads `before` reads `after`.
    harmless : str
        Why no schedule can show it; empty where one does.
    """

    name: str
    method: Callable[..., object]
    before: str
    after: str
    harmless: str = ""


MUTANTS = (
    Mutant("a rest tells nobody", GateState._come_to_rest, NEWS, "pass"),
    Mutant("going on tells nobody", GateState._move_on, "self.has_news = self.is_set_going = True", "pass"),
    Mutant("the gate tells nobody", RunGate._tell, NOTIFY, "pass"),
    Mutant("going on leaves deadlines as they were", GateState._move_on, "self.generation += 1", "pass"),
    Mutant("a hold leaves the limit", GateState.hold, "self.limit = 0", "pass"),
    Mutant("a publication tells nobody", GateState.boundary, NEWS, "pass"),
    Mutant("windows that were given up are gone on with", GateState.boundary, "generation != self.generation", "False"),
    Mutant("a move ends an instant late", GateState.boundary, "cursor >= move.target", "cursor > move.target"),
    Mutant("windows that were given up are handed out", Link.take, "or plan.generation != generation", ""),
    Mutant("a window isn't acknowledged", Link.take, "self.subscription.reset()", "pass"),
    Mutant("an acknowledgement tells nobody", StreamSubscription.reset, NOTIFY, "pass"),
    Mutant("windows are planned while one is under way", SessionCoordinator.work,
           "if not inbox.wait_until_reset():", "if False:"),
    Mutant("where the run stands is read without the lock", RunGate.standing, "with self._changed.lock:", "if True:",
           harmless="the cursor stands still while nothing is released, so all reads plan from one place"),
    Mutant("a pace's generation is read anew", SessionCoordinator._release_on_time,
           "link.open(start, start, generation, pace)", "link.open(start, start, self._gate.generation, pace)",
           harmless="nothing is released before the next sleep, which compares with the generation that was read first"),
    Mutant("the end leaves windows valid", GateState.close, "self.generation += 1", "pass",
           harmless="slower only: all who look at the generation look whether the gate is closed first"),
    Mutant("a new plan tells nobody", GateState.replan, NEWS, "pass"),
    Mutant("a new plan leaves windows valid", GateState.replan, "self.generation += 1", "pass"),
    Mutant("the last release doesn't go on", GateState.release, "self._move_on(now)", "pass"),
    Mutant("a place that is reached already isn't noticed", GateState.set_out, "self._reach(move, now)", "pass"),
    Mutant("a hold at rest doesn't say so", GateState.hold_for_user, "self._come_to_rest()", "pass"),
    Mutant("the processor leaves the analysis waiting", DataProcessor.work, "self._downstream.close()", "pass"),
    Mutant("the analysis doesn't acknowledge", AnalysisEngine.work, "self._inbox.reset()", "pass"),
    Mutant("the end leaves the streams open", Run._end, "stream.close()", "pass"),
    Mutant("a chunk that is loaded tells nobody", ChunkLoader._load, NOTIFY, "pass"),
    Mutant("the end leaves the loader asleep", ChunkLoader.close, NOTIFY, "pass"),
    Mutant("a question leaves the limit", GateState.ask, "self.limit = 0", "pass"),
    Mutant("who lets others in is deaf meanwhile", RunGate.doze, "if not (self.state.closed or self.state.holders):", "if True:"),
    Mutant("who lets others in isn't at rest", AnalysisEngine._let_others_in, "leaving=True", "leaving=False"),
    Mutant("a command answers before the run has ended", GateState._answer, "self.ended or", "self.closed or"),
    Mutant("what is asked for isn't the last publication", GateState.ask,
           "return UNLIMITED", "return 0"),
    Mutant("a run that has ended tells nobody", GateState.close, "self.has_news = self.is_set_going = True", "pass"),
    Mutant("news reach no ticket", Monitor.notify_all, "ticket.release()", "pass"),
    Mutant("news reach no condition", Monitor.notify_all, "self._news.notify_all()", "pass"),
    Mutant("news reach the first ticket alone", Monitor.notify_all, "for ticket in self._tickets:",
           "for ticket in self._tickets[:1]:"),
    Mutant("a ticket is put down when the lock is left", Monitor.until, "    self._tickets.append(ticket)",
           "self._tickets.append(ticket)"),
    Mutant("a wait whose time is up goes on", Monitor.until, "if found or not came:", "if found:"),
    Mutant("any news end a wait", Monitor.until, "came = ticket.acquire(timeout=left)",
           "came = ticket.acquire(timeout=left) and False"),
    Mutant("a ticket that isn't needed any more is left", Monitor.until, "self._tickets.remove(ticket)", "pass",
           harmless="nobody waits for it, and the next news throw it away"),
    Mutant("a flag that is raised tells nobody", Flag._set, "self._monitor.notify_all()", "pass"),
)  # fmt: skip


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """The fault is there as long as this lasts."""
    kind, name = _place(mutant.method)
    text = textwrap.dedent(inspect.getsource(mutant.method))
    if mutant.before not in text:
        raise LookupError(f"{kind.__name__}.{name} has no {mutant.before!r} any more: plant {mutant.name!r} elsewhere")
    namespace: dict[str, object] = {}
    code = compile(text.replace(mutant.before, mutant.after, 1), f"<{mutant.name}>", "exec", dont_inherit=True)
    exec(code, vars(sys.modules[mutant.method.__module__]) | {}, namespace)
    setattr(kind, name, namespace[name])
    try:
        yield
    finally:
        setattr(kind, name, mutant.method)


def _place(method: Callable[..., object]) -> tuple[type, str]:
    """The class that a method is of, and its name there. A stand-in that has the class's name is made of it."""
    owner, _, name = method.__qualname__.rpartition(".")
    known = getattr(sys.modules[method.__module__], owner).__mro__
    return next(kind for kind in known if vars(kind).get(name) is method), name
