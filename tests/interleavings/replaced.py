"""Puts the stand-ins in the place of threads, locks and time in the engine and the system, and takes them out again."""

from __future__ import annotations

import _thread
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

import nbbacktest.core.clock
import nbbacktest.core.monitor
import nbbacktest.engine.coordinator
import nbbacktest.system.cooperative
import nbbacktest.system.live_builder
import nbbacktest.system.manager  # noqa: F401 - what a schedule would import on its way is imported before
from nbbacktest.core.clock import Clock
from nbbacktest.core.lifecycle import Lifecycle
from nbbacktest.core.monitor import Flag, Monitor
from nbbacktest.engine.analysis import AnalysisEngine
from nbbacktest.engine.coordinator import SessionCoordinator
from nbbacktest.engine.feed import Inbox
from nbbacktest.engine.gate import RunGate
from nbbacktest.engine.gate_state import GateState
from nbbacktest.engine.metrics import LagWatch
from nbbacktest.engine.processor import DataProcessor
from nbbacktest.engine.subscription import StreamSubscription
from nbbacktest.engine.timeline import Timeline
from nbbacktest.engine.yielding import InterpreterYield
from nbbacktest.system.run import Run
from nbbacktest.system.run_holder import RunHolder
from tests.interleavings.threads import Beneath, Threading, Watched, now, point, sleep

ELSEWHERE = ("nbbacktest.system.remote", "nbbacktest.system.feeds", "nbbacktest.system.sweep")
"""What works with sockets and processes, and so with threads that are real."""

SHARED: dict[type, tuple[str | None, frozenset[str]]] = {
    GateState: (
        "guard",
        frozenset(
            {
                "limit",
                "generation",
                "cursor",
                "holders",
                "move",
                "trouble",
                "busy",
                "resting",
                "paced",
                "asked",
                "answering",
                "answered",
                "moving_since",
                "interrupted_at",
                "moved_before",
                "is_moving",
                "started",
                "finishing",
                "closed",
                "ended",
                "has_news",
                "is_set_going",
            }
        ),
    ),
    RunGate: ("_changed", frozenset({"runner", "_analyst"})),
    StreamSubscription: ("_changed", frozenset({"_ready", "_overruns", "_mode"})),
    Inbox: ("_lock", frozenset({"serial", "error"})),
    AnalysisEngine: (None, frozenset({"frame", "_error"})),
    DataProcessor: (None, frozenset({"batch"})),
    SessionCoordinator: (None, frozenset({"_speed"})),
    Timeline: (None, frozenset({"axis", "_timed"})),
    LagWatch: (None, frozenset({"due", "seconds"})),
    Lifecycle: (None, frozenset({"_state"})),
    Run: (None, frozenset({"_crash"})),
    RunHolder: (None, frozenset({"run"})),
    Monitor: ("lock", frozenset({"_tickets"})),
    Flag: (None, frozenset({"_up"})),
}
"""The fields that several threads use, and the attribute with the lock that guards them: without it, each use is a point."""


def engine_modules() -> dict[str, ModuleType]:
    """The modules of the engine and the system that are loaded, what they wait with, and the rig that tests put an engine on."""
    floors = (
        "nbbacktest.engine.",
        "nbbacktest.system.",
        "nbbacktest.core.clock",
        "nbbacktest.core.monitor",
        "tests.rig",
    )
    found = {name: module for name, module in sys.modules.items() if name.startswith(floors) and module is not None}
    return {name: module for name, module in found.items() if not name.startswith(ELSEWHERE)}


STAND_INS: dict[str, tuple[object, object]] = {
    "threading": (sys.modules["threading"], Threading),
    "_thread": (_thread, Beneath),
    "Monitor": (Monitor, Watched),
    "monotonic": (time.monotonic, now),
    "perf_counter": (time.perf_counter, now),
    "sleep": (time.sleep, sleep),
}
"""By the name that a module knows it under: what it is, and what stands in for it."""


@contextmanager
def replaced() -> Iterator[None]:
    """Threads, locks and time are the scheduler's, and fields that are shared are points, as long as this lasts."""
    with ExitStack() as stack:
        for module in engine_modules().values():
            for name, (real, stand_in) in STAND_INS.items():
                if vars(module).get(name) is real:
                    stack.enter_context(mock.patch.object(module, name, stand_in))
        for kind, (guard, names) in SHARED.items():
            stack.enter_context(_watched(kind, guard, names))
        stack.enter_context(mock.patch.object(InterpreterYield, "yield_if_wanted", _offer))
        stack.enter_context(mock.patch.object(RunGate, "__init__", _guarding_its_state(RunGate.__init__)))
        yield


def _guarding_its_state(init: Callable[..., None]) -> Callable[..., None]:
    """Have a gate's state know the lock that guards it, which is the gate's."""

    def made(gate: RunGate, lifecycle: Lifecycle, condition: Monitor, clock: Clock) -> None:
        init(gate, lifecycle, condition, clock)
        gate.state.guard = condition  # type: ignore[attr-defined]

    return made


def _offer(yielding: InterpreterYield) -> None:
    """Let others in at every other turn: who waits for the interpreter isn't known here."""
    yielding._seen += 1
    if yielding._seen % 2 == 0:
        yielding._nap(yielding.NAP)


@contextmanager
def _watched(kind: type, guard: str | None, names: frozenset[str]) -> Iterator[None]:
    """Make each use of these fields a point, unless the lock that guards them is held."""
    get, put = object.__getattribute__, object.__setattr__

    def is_open(self: Any) -> bool:
        lock = None if guard is None else get(self, "__dict__").get(guard)
        return lock is None or not getattr(lock, "lock", lock).is_mine()

    def __getattribute__(self: Any, name: str) -> Any:
        if name in names and is_open(self):
            point(name)
        return get(self, name)

    def __setattr__(self: Any, name: str, value: Any) -> None:
        if name in names and is_open(self):
            point(f"{name} =")
        put(self, name, value)

    before = {name: vars(kind).get(name) for name in ("__getattribute__", "__setattr__")}
    kind.__getattribute__, kind.__setattr__ = __getattribute__, __setattr__  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for name, method in before.items():
            if method is None:
                delattr(kind, name)
            else:
                setattr(kind, name, method)


def peek(owner: object, name: str) -> Any:
    """A shared field's value, without a point: what judges a schedule doesn't change it."""
    return object.__getattribute__(owner, name)
