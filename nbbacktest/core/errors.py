"""The errors of this package. Each message tells the event, its values and the cure.

Each subclasses the builtin that a user would catch without knowing this package.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from nbbacktest.core.formats import cut, shown


class NbBacktestError(Exception):
    """The root of this package's errors."""


class _Hidden:
    """Shown by an error in place of a wrong secret."""

    def __repr__(self) -> str:
        return "(not shown)"

    def __reduce__(self) -> str:
        return "HIDDEN"


HIDDEN = _Hidden()


class _Missing:
    """Marks a missing value if None is a possible value."""

    def __repr__(self) -> str:
        return "(missing)"

    def __reduce__(self) -> str:
        return "MISSING"


MISSING = _Missing()


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of an input: its place, the wrong value, and the cure."""

    path: str
    value: Any
    cure: str

    def __str__(self) -> str:
        return f"{self.path} = {cut(shown(self.value), 80)}: {self.cure}"


class ConfigError(NbBacktestError, ValueError):
    """A session config that can't be run; `problems` holds every reason found, not just the first."""

    def __init__(self, problems: Sequence[Problem], where: str = "session config") -> None:
        self.problems = tuple(problems)
        self.where = where
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        noun = "problem" if len(self.problems) == 1 else "problems"
        super().__init__(f"{where} has {len(self.problems)} {noun}:\n{lines}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems, self.where)


class ConfigNotFoundError(ConfigError, FileNotFoundError):
    """A session config's file that isn't there."""


class DataError(NbBacktestError, ValueError):
    """Bars that can't be used as they are.

    Attributes
    ----------
    result
        The result of the run until the error (`nbbacktest.Result`); None if it hadn't begun.
    """

    result: Any = None


class DataNotFoundError(DataError, FileNotFoundError):
    """A data file that isn't there."""


class DataQualityWarning(UserWarning):
    """Bars were left out, are fewer than asked for, or contradict other bars; the run goes on."""


class MissingExtraError(NbBacktestError, ImportError):
    """An optional dependency that isn't installed; the message names the extra that brings it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f'{purpose} needs the package {package!r}; install it with: pip install "nbbacktest[{extra}]"')
        self.package, self.extra, self.purpose = package, extra, purpose

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.package, self.extra, self.purpose)


class OrderError(NbBacktestError, ValueError):
    """An order that makes no sense as it was written."""


class OrderWarning(UserWarning):
    """A setting makes orders come to nothing: one warning for each symbol; `result.log` and `result.orders` have each order."""


class ParameterError(ConfigError, TypeError):
    """A strategy's parameter that doesn't exist, is missing, or has the wrong type; `where` names the class."""


class OutsideRunError(NbBacktestError, RuntimeError):
    """A part of a strategy that works only inside a run was used outside a run."""


class IndicatorError(NbBacktestError, ValueError):
    """An indicator that can't be computed, or whose values don't match its bars."""


class StateError(NbBacktestError, TypeError):
    """A run's state that can't be saved or restored: something in it can't be copied, or the fresh run isn't alike."""


class ReplayError(NbBacktestError, RuntimeError):
    """A run that can't be taken back: it doesn't repeat what it has recorded, or its origin can't be made again."""


class JournalError(NbBacktestError, ValueError):
    """A run's journal that can't be read, doesn't fit the bars or the strategies, or is another process's.

    Attributes
    ----------
    path, line
        The file, and the number of its line that is meant; None if all of it is.
    cause, cure
        The fault, and its cure.
    """

    def __init__(self, path: Any, line: int | None, cause: str, cure: str) -> None:
        self.path, self.line, self.cause, self.cure = path, line, cause, cure
        super().__init__(f"the journal {path}{'' if line is None else f', line {line}'} {cause}; {cure}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.line, self.cause, self.cure)


class ScheduleError(NbBacktestError, ValueError):
    """A call that can't be scheduled as it was written, or not with these bars."""


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C ended a sweep; no process of it is left.

    Attributes
    ----------
    result
        The points that were done (`nbbacktest.SweepResult`).
    """

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result


class InvalidTransition(NbBacktestError, RuntimeError):  # noqa: N818 - the public contract's name
    """A command that makes no sense in the present state.

    Attributes
    ----------
    state, command
        The state of the system, and the command that it was given.
    allowed
        The commands that the state does allow.
    """

    def __init__(self, state: str, command: str, allowed: Sequence[str], history: Sequence[str] = ()) -> None:
        self.state, self.command = state, command
        self.allowed, self.history = tuple(allowed), tuple(history)
        story = f" Last events: {', '.join(self.history)}." if self.history else ""
        super().__init__(f"can't {command} while {state.upper()}; allowed here: {', '.join(self.allowed)}.{story}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.state, self.command, self.allowed, self.history)


class LiveRunError(InvalidTransition):
    """A command that a live run can't follow, because the market doesn't wait; `command` is its name."""

    def __init__(self, command: str, history: Sequence[str] = ()) -> None:
        super().__init__("running", command, ["stop"], history)
        self.args = (f"can't {command} a live run: the market doesn't wait; only stop() ends it",)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.command, self.history)


class NoThreadsError(NbBacktestError, RuntimeError):
    """A call that needs another thread, on a host that has none; `cure` says what to do instead."""

    def __init__(self, what: str, cure: str) -> None:
        self.what, self.cure = what, cure
        super().__init__(f"{what} needs threads, and there are none here; {cure}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.cure)


class FeedError(NbBacktestError, ConnectionError):
    """A live feed that can't be used, or that has failed permanently."""


class StrategyError(NbBacktestError, RuntimeError):
    """A strategy raised; the original exception is `__cause__`.

    Attributes
    ----------
    strategy, callback
        The class and the method that raised.
    symbol, interval, time
        The bar that it was handling: its symbol, interval and stamp. If the callback was told of no bar, `interval`
        is None and `time` the instant of the call; None too before the first bar and after the last one.
    result
        The result of the run until then (`nbbacktest.Result`), or None if nothing was done.
    """

    def __init__(
        self,
        strategy: str,
        callback: str,
        reason: str,
        *,
        symbol: str | None = None,
        interval: str | None = None,
        time: Any = None,
    ) -> None:
        self.strategy, self.callback, self.reason = strategy, callback, reason
        self.symbol, self.interval, self.time = symbol, interval, time
        self.result: Any = None
        if symbol is None:
            at = ""
        elif interval is None:
            at = f" for {symbol} at {time}"
        else:
            at = f" at the {interval} bar of {symbol} stamped {time}"
        super().__init__(f"{strategy}.{callback} raised{at}: {reason}")

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {"symbol": self.symbol, "interval": self.interval, "time": self.time, "result": self.result}
        return _rebuild_strategy_error, (self.strategy, self.callback, self.reason, fields)


def _rebuild_strategy_error(strategy: str, callback: str, reason: str, fields: dict[str, Any]) -> StrategyError:
    result = fields.pop("result")
    error = StrategyError(strategy, callback, reason, **fields)
    error.result = result
    return error


class StrategyBlockedError(NbBacktestError, TimeoutError):
    """A strategy call didn't return within the time that the command was given."""


class NoSessionError(NbBacktestError, LookupError):
    """No run goes on that could be reached, or none of that name."""


class AmbiguousSessionError(NbBacktestError, ValueError):
    """Several runs could be meant; the message lists them."""


class RemoteError(NbBacktestError, ConnectionError):
    """A run of another process couldn't be reached, or its process ended or doesn't answer."""


class RemoteCommandError(NbBacktestError, RuntimeError):
    """A command of another process's run raised an error without a class here; `kind` is the name of its class."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind, self.message = kind, message
        super().__init__(f"{kind}: {message}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.kind, self.message)


def closest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `word` may have meant; None if none is like it."""
    return next(iter(get_close_matches(word, sorted(known), n=1, cutoff=0.5)), None)


def nearest(word: object, known: Iterable[str]) -> str:
    """The end of an error message: the one of `known` that `word` may have meant, or the known names."""
    names = sorted(known)
    meant = closest(word, names) if isinstance(word, str) else None
    if meant is not None:
        return f"did you mean {meant!r}?"
    shown, rest = names[:_SHOWN], len(names) - _SHOWN
    more = f" and {rest:,} more" if rest > 0 else ""
    return f"known are: {', '.join(shown)}{more}" if names else "there are none"


_SHOWN = 20
"""The number of names that a message lists before it only counts them."""
