"""Inputs by hand: what a user did to a run that can change its result, and the places at which it was done. Pure values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from nbbacktest.core.enums import InputKind
from nbbacktest.core.errors import OrderError

if TYPE_CHECKING:
    import pandas as pd


class InputPlace(NamedTuple):
    """A place of a run with inputs by hand: a cursor alone doesn't tell which of them were done there.

    Attributes
    ----------
    cursor : int
        Completed instants.
    inputs : int
        The number of inputs that were done before.
    """

    cursor: int
    inputs: int


class Input(NamedTuple):
    """An input: an act of a user, by hand, that can change the result of a run.

    Attributes
    ----------
    place : InputPlace
        The place at which it was done.
    time : Timestamp or None
        The last instant that was completed there, as a snapshot shows it; None before the first.
    what : InputKind
        ``"buy"``, ``"sell"``, ``"close"``, ``"cancel"``, ``"replace"``, ``"change"``, ``"costs"``, ``"add_symbol"`` or ``"remove_symbol"``.
    strategy : str or None
        The strategy in whose name it was done; None: in the hand's own.
    arguments : mapping
        JSON values by name.
    by : str
        The face that it came from, such as ``"python"`` or ``"panel"``.
    """

    place: InputPlace
    time: pd.Timestamp | None
    what: InputKind
    strategy: str | None
    arguments: Mapping[str, Any]
    by: str = "python"

    def to_dict(self) -> dict[str, Any]:
        """The input as a JSON object, as journals and saved results have it."""
        return {
            "cursor": self.place.cursor, "inputs": self.place.inputs,
            "time": None if self.time is None else self.time.isoformat(),
            "what": str(self.what), "strategy": self.strategy, "arguments": dict(self.arguments), "by": self.by,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Input:
        """The input that `to_dict` wrote.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it isn't one.
        """
        import pandas as pd

        place = InputPlace(int(values["cursor"]), int(values["inputs"]))
        time = None if values["time"] is None else pd.Timestamp(values["time"])
        arguments = MappingProxyType(dict(values["arguments"]))
        return cls(place, time, InputKind(values["what"]), values["strategy"], arguments, values["by"])

    def __repr__(self) -> str:
        terms = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        of = "" if self.strategy is None else f" for {self.strategy}"
        return f"<Input {self.what}({terms}){of} at {self.time or 'the start'}>"


class Fork(NamedTuple):
    """The place at which a run was forked off another one, and in what it differs.

    Attributes
    ----------
    place : InputPlace
    time : Timestamp or None
        The last instant that was completed there; None before the first.
    changes : str
        The difference in words, such as ``"fast=5"``; empty if there is none.
    is_whole : bool
        True if the run differs from its start on, and not only from that place on.
    """

    place: InputPlace
    time: pd.Timestamp | None
    changes: str
    is_whole: bool = False


def canonical(inputs: Sequence[Input]) -> bytes:
    """The inputs as the one text that fingerprints cover: what was done, where, and in whose name."""
    lines = [[one.place.cursor, one.what, one.strategy, dict(one.arguments)] for one in inputs]
    return json.dumps(lines, sort_keys=True, separators=(",", ":")).encode()


def said_by_hand(inputs: Sequence[Input]) -> str:
    """The number of inputs in words, as reports say it; empty if there is none."""
    count = len(inputs)
    return "" if not count else f"with {count} input{'' if count == 1 else 's'} by hand"


def plain_arguments(what: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments as JSON values: times as texts, numbers of other libraries as Python's.

    Raises
    ------
    OrderError
        If a value can't be written as JSON, and so couldn't be repeated.
    """
    return MappingProxyType({name: _plain(f"{what}({name}=...)", value) for name, value in arguments.items()})


def _plain(where: str, value: Any) -> Any:
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, date):  # a datetime and a Timestamp are dates too
        return value.isoformat()
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, (list, tuple)):
        return [_plain(where, part) for part in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(where, part) for key, part in value.items()}
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", 1) == 0:
        return _plain(where, item())  # a number of numpy
    raise OrderError(
        f"{where}: {value!r} can't be written down, and so the input couldn't be repeated; give a number or text"
    )


@dataclass(frozen=True)
class Retried:
    """The answer of `SystemManager.retry`; true if the run goes on with the mended class.

    Attributes
    ----------
    has_same_past : bool
        True: up to the instant that raised, the mended class did what was recorded; the run is paused just before that instant.
        False: nothing has changed.
    told : str
        The outcome, for people.
    """

    has_same_past: bool
    told: str

    def __bool__(self) -> bool:
        return self.has_same_past

    def __repr__(self) -> str:
        return f"<Retried: {self.told}>"
