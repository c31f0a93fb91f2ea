"""What strategies keep in themselves, as bytes: their attributes, with the run's own objects by name.

An order, an indicator or a view of bars in an attribute is written as its number or name, and read as the fresh world's.
Everything else is copied by pickle, which refuses what it can't copy: generators, locks, open files, functions that were made
inside others. What a strategy keeps outside of itself (globals, class attributes, the numbers of `random`) isn't seen. The
bytes stay in the process: they are no file format.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any

from nbbacktest.core.errors import StateError
from nbbacktest.core.shown import said
from nbbacktest.engine.series import BarsView, ColumnView, Series, TimeView
from nbbacktest.trading.context import StrategyContext
from nbbacktest.trading.indicators import Indicator
from nbbacktest.trading.orders import Order
from nbbacktest.trading.schedule import Scheduled
from nbbacktest.trading.strategy import Strategy

_MUTABLE = (list, dict, set, bytearray)
_PLAIN = frozenset({int, float, str, bool, bytes, type(None), tuple, list, dict, set, frozenset})
_NOT_ITS_OWN = ("_strategy_context", "_as_given")


@dataclass(frozen=True, eq=False)
class RunObjects:
    """The objects of one run that strategies may refer to, in the order in which they were made.

    Attributes
    ----------
    streams : sequence
        The objects that users' streaming indicators feed, and None for the other indicators' calls.
    """

    strategies: Sequence[Strategy]
    contexts: Sequence[StrategyContext]
    orders: Sequence[Order]
    series: Mapping[tuple[str, str], Series]
    indicators: Sequence[Indicator]
    scheduled: Sequence[Scheduled]
    streams: Sequence[Any]
    _names: dict[int, tuple[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in ("strategies", "contexts", "indicators", "scheduled"):
            self._names.update({id(one): (kind, number) for number, one in enumerate(getattr(self, kind))})

    def leave_out(self, number: int) -> None:
        """Write the streaming object `number` by its number, since it can't be copied."""
        self._names[id(self.streams[number])] = "streams", number

    def name_of(self, value: Any) -> Any:
        """What `value` is called in the bytes; None where it is copied instead.

        Raises
        ------
        StateError
            Where it is another run's, or would be shared instead of copied.
        """
        if type(value) in _PLAIN:
            return None
        name = self._names.get(id(value))
        if name is not None:
            return name
        name = self._name_by_kind(value)
        if name is None and (reason := _shared(value)) is not None:
            raise StateError(reason)
        return name

    def _name_by_kind(self, value: Any) -> Any:
        match value:
            case Order() if 0 < value.id <= len(self.orders) and self.orders[value.id - 1] is value:
                return "orders", value.id - 1
            case Strategy() | StrategyContext() | Indicator() | Scheduled() | Order():
                raise StateError(f"{value!r} is of another run")
            case Series():
                return "series", (value.symbol, value.interval)
            case BarsView():
                return "bars", (value.symbol, value.interval)
            case ColumnView() | TimeView():
                series = value._series  # noqa: SLF001 - hidden from strategies only
                return "column", (series.symbol, series.interval), getattr(value, "_name", "time")
            case ModuleType():
                return "module", value.__name__
        return None

    def called(self, name: Any) -> Any:
        """What has that name."""
        match name:
            case "series", key:
                return self.series[key]
            case "bars", key:
                return BarsView(self.series[key])
            case "column", key, column:
                return getattr(BarsView(self.series[key]), column)
            case "module", module:
                return sys.modules[module]
            case kind, number:
                return getattr(self, kind)[number]
        raise StateError(f"{name!r} names nothing")


def save_strategies(objects: RunObjects) -> bytes:
    """The strategies' attributes, what their streaming indicators feed, and what they have scheduled.

    A streaming object that can't be copied is left out: it is fed anew.

    Raises
    ------
    StateError
        Where an attribute, or a scheduled function, can't be copied: it names which, and why.
    """
    attributes = [_attributes(strategy) for strategy in objects.strategies]
    streams = {}
    for number, one in enumerate(objects.streams):
        if one is not None:
            if _refusal(objects, one) is None:
                streams[number] = one
            else:
                objects.leave_out(number)
    callbacks = {
        number: call.callback for number, call in enumerate(objects.scheduled) if not _is_own(call.callback, objects)
    }
    try:
        return _pickled(objects, (attributes, streams, callbacks))
    except Exception as error:
        for strategy, own in zip(objects.strategies, attributes, strict=True):
            for name, value in own.items():
                if (reason := _refusal(objects, value)) is not None:
                    raise StateError(f"{type(strategy).__name__}.{name} can't be copied: {reason}") from error
        for number, callback in callbacks.items():
            if (reason := _refusal(objects, callback)) is not None:
                raise StateError(f"{objects.scheduled[number]!r} can't be copied: {reason}") from error
        raise StateError(f"the strategies' attributes can't be copied: {said(error)}") from error


def restore_strategies(objects: RunObjects, saved: bytes) -> dict[int, Any]:
    """Give a fresh run's strategies the attributes that were saved; returns the copied streaming objects by number."""
    attributes, streams, callbacks = _Reader(io.BytesIO(saved), objects).load()
    for strategy, own in zip(objects.strategies, attributes, strict=True):
        for name in _attributes(strategy):
            delattr(strategy, name)
        vars(strategy).update(own)
    for number, callback in callbacks.items():
        objects.scheduled[number].callback = callback
    return streams  # type: ignore[no-any-return]


class _Writer(pickle.Pickler):
    def __init__(self, file: io.BytesIO, objects: RunObjects) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._objects = objects

    def persistent_id(self, obj: Any) -> Any:
        """What the run calls it; None where it is copied."""
        return self._objects.name_of(obj)


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, objects: RunObjects) -> None:
        super().__init__(file)
        self._objects = objects

    def persistent_load(self, pid: Any) -> Any:
        """What the fresh run calls so."""
        return self._objects.called(pid)


def _pickled(objects: RunObjects, value: Any) -> bytes:
    file = io.BytesIO()
    _Writer(file, objects).dump(value)
    return file.getvalue()


def _refusal(objects: RunObjects, value: Any) -> str | None:
    """Why `value` can't be copied; None where it can."""
    try:
        _pickled(objects, value)
    except Exception as error:  # noqa: BLE001 - what is copied is the user's, and may raise anything
        return said(error)
    return None


def _shared(value: Any) -> str | None:
    """Why pickle would share what `value` keeps, or lose it; None where it copies all of it."""
    if isinstance(value, FunctionType) and any(isinstance(one, _MUTABLE) for one in value.__defaults__ or ()):
        return f"{value.__qualname__} may keep something in its defaults"
    return f"{value!r} can't be copied" if type(value).__module__ == "itertools" else None


def _attributes(strategy: Strategy) -> dict[str, Any]:
    return {name: value for name, value in vars(strategy).items() if name not in _NOT_ITS_OWN}


def _is_own(callback: Callable[[], object], objects: RunObjects) -> bool:
    """True if a fresh run's `callback` needs no copy: it is made of strategies of the run and of nothing else."""
    function = getattr(callback, "__func__", callback)
    if not isinstance(function, FunctionType) or function.__defaults__:
        return False
    try:
        held = [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:  # a cell that is still empty
        return False
    if function is not callback:
        held.append(callback.__self__)  # type: ignore[attr-defined]
    return all(any(one is strategy for strategy in objects.strategies) for one in held)
