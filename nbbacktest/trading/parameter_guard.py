"""Refuses parameters that were set on the strategies of a run from outside while it was at rest: nothing would record them."""

from __future__ import annotations

from typing import Any

from nbbacktest.core.errors import MISSING, OrderError
from nbbacktest.core.formats import shown
from nbbacktest.trading.desk import TradingDesk
from nbbacktest.trading.strategy import Strategy, parameters_of

Sample = list[dict[str, Any]]
"""For each strategy, its own values of its parameters by name; MISSING where it has that of its class."""


class ParameterGuard:
    """Knows the parameters of a run's strategies from one rest to the next motion. Used by the analysis thread alone."""

    def __init__(self, desk: TradingDesk) -> None:
        self._desk = desk
        self._names = [tuple(parameters_of(type(one), Strategy)) for one in desk.strategies]
        self._sample: Sample | None = None

    def rest(self) -> None:
        """Note the values, as the run comes to rest; once a rest."""
        if self._sample is None:
            self._sample = self._values()

    def go_on(self) -> OrderError | None:
        """As the run goes on, set back what was set from outside meanwhile; returns the error that says so."""
        sample, self._sample = self._sample, None
        if sample is None:
            return None
        refused: OrderError | None = None
        for (strategy, context), before, now in zip(self._desk.contexts, sample, self._values(), strict=True):
            changed = {name: value for name, value in now.items() if value is not before[name]}
            if not changed:
                continue
            for name in changed:
                if before[name] is MISSING:
                    delattr(strategy, name)
                else:
                    setattr(strategy, name, before[name])
            names = ", ".join(f"{name}={shown(value)}" for name, value in changed.items())
            refused = refused or OrderError(
                f"{names} was set on {context.name} from outside of its callbacks, which nothing would record: it is set back; "
                f"use system.change({context.name!r}, {names})"
            )
        return refused

    def _values(self) -> Sample:
        return [
            {name: vars(one).get(name, MISSING) for name in names}
            for one, names in zip(self._desk.strategies, self._names, strict=True)
        ]
