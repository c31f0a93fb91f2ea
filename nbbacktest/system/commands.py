"""The commands that every face offers: one typed function each, whose docstring is its help.

A face parses a line, calls the function with its system, and draws the answer. A command that makes no sense raises
(`InvalidTransition`, `ConfigError`, `ValueError`, ...).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.enums import SystemState
from nbbacktest.core.errors import InvalidTransition
from nbbacktest.system import hand_commands as by_hand
from nbbacktest.system.answers import RESUME, Answer, answer, at, cut_short, gone
from nbbacktest.system.manager import SystemManager
from nbbacktest.system.origin import ConfigSource
from nbbacktest.system.status import snapshot_data, snapshot_summary, summary
from nbbacktest.system.targets import EVENTS, words_of_goal


def start(
    system: SystemManager, config: ConfigSource | None = None, *, speed: float | None = None, paused: bool = False
) -> Answer:
    """Start a run.

    Parameters
    ----------
    config
        The session config, a JSON file; without one what ran before runs again, or at first a small example.
    speed
        The speed to start with, in place of the config's: 0 as fast as it goes, 60 a simulated minute a second.
    paused
        Hold the run before its first bar.
    """
    if not system.is_stopped():
        return answer(system, "start", False, f"System is {system.get_state()} already", "Use 'system stop' to end it")
    settings, ran = None if config is None else SessionConfig.load(config), system.run is not None
    if speed is not None:
        system.set_speed(speed)
    started = system.start(settings, paused=paused)
    if not started:
        return answer(system, "start", False, "Another command started the system at the same time")
    again = f"Runs {'again' if ran else 'the example'}: {system.next_start}" if config is None else None
    hint = "Use 'system step' or 'system resume' to set it in motion" if paused else None
    return answer(system, "start", True, "System started successfully", "\n".join(filter(None, (again, hint))) or None)


def pause(system: SystemManager) -> Answer:
    """Hold the run at the next bar boundary; waits until it is at rest."""
    if system.is_paused():
        value = system.pause()
        return answer(system, "pause", value, "System is paused already", RESUME)
    if system.pause():
        return answer(system, "pause", True, "System paused", RESUME)
    if system.is_stopped():
        return answer(system, "pause", False, "The run ended before it came to rest")
    return answer(system, "pause", False, f"System is {system.get_state()}: another command came between")


def resume(system: SystemManager) -> Answer:
    """Let a paused run go on."""
    if system.resume():
        return answer(system, "resume", True, "System resumed", _state_line(SystemState.RUNNING))
    if system.is_running():
        return answer(system, "resume", False, "System is running already")
    return answer(system, "resume", False, f"System is {system.get_state()}: another command came between")


def step(system: SystemManager, n: int = 1) -> Answer:
    """Deliver the next instants of a paused run and rest again; an instant is all bars that close at one time.

    Parameters
    ----------
    n
        How many instants.
    """
    value = system.step(n)
    if value:
        return answer(system, "step", True, f"Stepped {n:,} {'instant' if n == 1 else 'instants'}{at(system)}")
    return answer(system, "step", False, cut_short(system))


def until(system: SystemManager, when: str) -> Answer:
    """Go on until a time or an event, and rest there; waits for it.

    Parameters
    ----------
    when
        A time such as 10:30 or "2024-10-03 10:30", "next fill" or "next session"; "last fill" and the like go back, as
        back-until does.
    """
    if when.lower().split()[:1] == ["last"]:
        return back_until(system, when)
    if (event := EVENTS.get(" ".join(when.lower().split()))) is not None:
        _refuse_stopped(system, "run_until")
        value = system.run_until(event(system.snapshot()))
    else:
        value = system.run_until(when)
    if value:
        return answer(system, "until", True, f"System paused{at(system)}", RESUME)
    return answer(system, "until", False, cut_short(system))


def back(system: SystemManager, n: int = 1) -> Answer:
    """Go back and rest there; the run is executed again up to that place. What lies ahead is delivered again.

    Parameters
    ----------
    n
        By how many instants.
    """
    return gone(system, "back", system.back(n))


def rewind(system: SystemManager, to: str, *, before: bool = False) -> Answer:
    """Go to a place that the run was at, and rest there; what lies ahead is delivered again.

    Parameters
    ----------
    to
        A time such as 10:30, a number of completed instants, start, end, "last fill", "fill 0", "order 17" or "trade 2".
    before
        Rest one instant before it.
    """
    return gone(system, "rewind", system.rewind(**words_of_goal(to), before=before))


def back_until(system: SystemManager, when: str) -> Answer:
    """Go back to the last earlier instant at which something happened, and rest there.

    Parameters
    ----------
    when
        A time such as 10:30, or fill, order, rejected (each also with a symbol), "order 17", session, "session end", error,
        "drawdown 10%", "equity 95000".
    """
    before = system.horizon
    cursor = system.snapshot().cursor if before else 0
    value = system.run_back_until(when)
    if not value and before and system.snapshot().cursor == cursor:
        return answer(system, "back-until", False, f"There is no such place before {system.snapshot().time}")
    return gone(system, "back-until", value)


def break_(system: SystemManager, when: str, *, once: bool = False) -> Answer:
    """Set a breakpoint: runs rest there, the present one and later ones.

    Parameters
    ----------
    when
        A time such as 10:30, or fill, order, rejected (each also with a symbol), "order 17", session, "session end", error,
        "drawdown 10%", "equity 95000".
    once
        It goes with its first hit.
    """
    made = system.breakpoints.add(when, once=once)
    return answer(
        system, "break", made.number, f"Set {made}", f"Use 'system breaks --remove {made.number}' to remove it"
    )


def breaks(system: SystemManager, *, remove: int = 0, clear: bool = False) -> Answer:
    """List the breakpoints, or remove some.

    Parameters
    ----------
    remove
        The number of the one to remove first.
    clear
        Remove all.
    """
    found = system.breakpoints
    if clear:
        found.clear()
    elif remove:
        found.remove(remove)
    rows = [{"number": one.number, "when": str(one.terms), "once": one.once, "hits": one.hits} for one in found]
    told = "\n".join(repr(one)[1:-1] for one in found) or "No breakpoints"
    return Answer(
        "breaks", [row["number"] for row in rows], system.get_state().value, told, None, {"breakpoints": rows}
    )


def speed(system: SystemManager, x: float) -> Answer:
    """Change the speed, also while running; while stopped, it is the speed of the next start.

    Parameters
    ----------
    x
        Simulated seconds a second: 60 is a simulated minute a second, 0 as fast as it goes.
    """
    system.set_speed(x)
    text = "as fast as it goes" if x == 0 else f"{x:g} simulated seconds a second"
    return answer(system, "speed", None, f"Speed set: {text}", "For the next start" if system.is_stopped() else None)


def add(system: SystemManager, symbol: str) -> Answer:
    """Let a symbol join the run between two instants; whether the run is paused stays as it is.

    Parameters
    ----------
    symbol
        Found where the run's data come from; its bars up to now are history.
    """
    if not symbol or any(character in symbol for character in "/\\\0"):
        raise ValueError(f"{symbol!r} is no symbol that can be asked for here; it may stand in a file's path")
    value = system.add_symbol(symbol)
    return answer(system, "add", value, f"{symbol} joined the run{at(system)}")


def remove(system: SystemManager, symbol: str, *, close: bool = False) -> Answer:
    """Let a symbol leave the run; one that is held stays, unless it is to be closed.

    Parameters
    ----------
    symbol
        One of the run's.
    close
        Close its positions at the market; it leaves when all are closed.
    """
    value = system.remove_symbol(symbol, positions="close" if close else "refuse")
    told = f"{symbol} left the run{at(system)}" if value else f"{symbol} leaves the run when its positions are closed"
    return answer(system, "remove", value, told)


def stop(system: SystemManager) -> Answer:
    """End the run, from every state."""
    value = system.stop()
    return answer(system, "stop", value, "System stopped" if value else "System is stopped already")


def look(system: SystemManager, at: str) -> Answer:
    """Show the run as it was at an instant of its past; it stays where it is, and goes on if it does.

    Parameters
    ----------
    at
        A time such as 10:30 or "2024-10-03 10:30": the last instant up to it. Or a number of completed instants.
    """
    shot = system.look(int(at) if at.strip().isdecimal() else at)
    state = system.get_state().value
    return Answer("look", shot, state, "\n".join(snapshot_summary(shot)), None, snapshot_data(shot))


def status(system: SystemManager) -> Answer:
    """Tell what the system does: state, progress, account."""
    data = system.status()
    state = data["system_manager"]["_state"]
    return Answer("status", data, state, "\n".join([_state_line(state, shout=True), *summary(data)]), None, data)


_ALL = (
    start, pause, resume, step, until, back, back_until, rewind, break_, breaks, speed, add, remove, stop, look, status,
    by_hand.buy, by_hand.sell, by_hand.close, by_hand.cancel, by_hand.change, by_hand.undo, by_hand.redo, by_hand.inputs,
)  # fmt: skip
COMMANDS: Mapping[str, Callable[..., Answer]] = MappingProxyType(
    {function.__name__.strip("_").replace("_", "-"): function for function in _ALL}
)
"""Every command by its name. Nothing else can be asked of a system by any face."""


def parameters(name: str) -> tuple[inspect.Parameter, ...]:
    """The parameters of the command `name` besides the system, with resolved types; a config is the path of one."""
    given = list(inspect.signature(COMMANDS[name], eval_str=True).parameters.values())[1:]
    return tuple(p.replace(annotation=str | None) if p.annotation == ConfigSource | None else p for p in given)


def _state_line(state: str, *, shout: bool = False) -> str:
    return f"State: {state.upper() if shout else state}"


def _refuse_stopped(system: SystemManager, command: str) -> None:
    if system.is_stopped():
        raise InvalidTransition(SystemState.STOPPED.value, command, ["start"])
