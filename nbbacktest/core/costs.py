"""The costs of trading in the session config: commission, slippage, short borrow, debit interest.

Models only; `nbbacktest.trading.costs` and `nbbacktest.trading.dated_events` compute with them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, field_validator, model_validator

from nbbacktest.core.model import Model

# -- commission ---------------------------------------------------------------------------------------------


class NoCommission(Model):
    """Trade for free."""

    model: Literal["none"] = "none"


class PercentCommission(Model):
    """A share of the notional: ``rate * size * |price|``; 0.001 is 0.1%."""

    model: Literal["percent"] = "percent"
    rate: float = Field(ge=0, lt=1, description="fraction of the notional, 0.001 is 0.1%")


class PerShareCommission(Model):
    """Money a unit, within bounds an order: ``min(max(rate * size, minimum), maximum * size * |price|)``.

    If both bounds disagree the maximum wins, as it does at the brokers that have them. The bounds hold for an
    order's fills together, not for each.
    """

    model: Literal["per_share"] = "per_share"
    rate: float = Field(ge=0, description="money a unit, 0.005 is half a cent")
    minimum: float = Field(0.0, ge=0, description="the least that an order costs")
    maximum: float | None = Field(None, gt=0, lt=1, description="the most, as a fraction of the notional; null: none")


class PerTradeCommission(Model):
    """A fixed amount for every order that fills, however large; an order filled in parts pays once."""

    model: Literal["per_trade"] = "per_trade"
    amount: float = Field(ge=0, description="money an order")


class PerContractCommission(Model):
    """Money a contract: ``rate * size``."""

    model: Literal["per_contract"] = "per_contract"
    rate: float = Field(ge=0, description="money a contract")


class MakerTakerCommission(Model):
    """One share of the notional for limit orders that rested, another for all other orders.

    A fill is the maker's if the order's limit sets its price and the bar opened on the side of it that can't
    fill: the order waited in the book. All other fills are the taker's, also that of a limit order at the open, and that
    of a limit if touched in the bar that touches it, if its touch is its limit.
    """

    model: Literal["maker_taker"] = "maker_taker"
    maker: float = Field(gt=-1, lt=1, description="fraction of the notional; negative: a rebate")
    taker: float = Field(ge=0, lt=1, description="fraction of the notional")

    @model_validator(mode="after")
    def _pays_nobody_to_trade(self) -> Self:
        if self.maker + self.taker < 0:
            raise ValueError(f"the rebate of {-self.maker:g} is more than the taker's {self.taker:g}; correct one")
        return self


class Tier(Model):
    """A rate, and the traded volume from which on that rate counts."""

    above: float = Field(ge=0, description="volume traded before, in the unit of `by`")
    rate: float = Field(ge=0, description="fraction of the notional, or money a unit where by is shares")


class TieredCommission(Model):
    """Rates that depend on the volume traded since the run began, by all symbols and strategies together.

    Marginal: the part of a fill that lies in a tier pays that tier's rate, so that filling in parts costs the same.
    """

    model: Literal["tiered"] = "tiered"
    by: Literal["notional", "shares"] = Field("notional", description="what is added up, and what the rates are of")
    tiers: tuple[Tier, ...] = Field(description="the first from 0 on, rising")

    @field_validator("tiers")
    @classmethod
    def _rising(cls, tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
        edges = [tier.above for tier in tiers]
        if not edges:
            raise ValueError("has no tier; give at least one, from 0 on")
        if edges[0] != 0:
            raise ValueError(f"the first tier begins above {edges[0]:g}; begin at 0, so that every trade has a rate")
        if any(later <= earlier for earlier, later in pairwise(edges)):
            raise ValueError(f"the tiers begin above {', '.join(f'{e:g}' for e in edges)}; put them in rising order")
        return tiers

    @model_validator(mode="after")
    def _fractions(self) -> Self:
        if self.by == "notional" and (most := max(tier.rate for tier in self.tiers)) >= 1:
            raise ValueError(f"a rate of {most:g} is more than the notional; by notional, 0.001 is 0.1%")
        return self


CommissionFunction = Callable[[str, float, float, str], float]
"""(side, size, price, symbol) -> commission; side is ``"buy"`` or ``"sell"``, size positive."""


def _function(value: Any) -> Any:
    if callable(value):
        return value
    module, colon, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not (colon and module and name.isidentifier()):
        raise ValueError("give a function of side, size, price and symbol, or its place as module:name")
    return value


def place_of(function: CommissionFunction | str) -> str:
    """A function as ``module:name``."""
    if isinstance(function, str):
        return function
    kind = type(function)
    named = function if hasattr(function, "__qualname__") else kind
    return f"{getattr(named, '__module__', '?')}:{getattr(named, '__qualname__', kind.__name__)}"


class CallableCommission(Model):
    """Your own: a function ``f(side, size, price, symbol)`` that returns the commission in money.

    Called with ``"buy"`` or ``"sell"``, units (positive) and the price that is filled at, slippage included; also on
    trial, to find how much the cash allows, so it must not count its calls. Negative is a rebate.
    """

    model: Literal["callable"] = "callable"
    function: Annotated[
        CommissionFunction | str,
        PlainValidator(_function),
        PlainSerializer(place_of, return_type=str, when_used="json"),
        WithJsonSchema({"type": "string"}),
    ] = Field(description="module:name, __main__:name included; in Python the function itself")


Commission = Annotated[
    NoCommission | PercentCommission | PerShareCommission | PerTradeCommission | PerContractCommission
    | MakerTakerCommission | TieredCommission | CallableCommission,
    Field(discriminator="model"),
]  # fmt: skip


# -- slippage -----------------------------------------------------------------------------------------------


class NoSlippage(Model):
    """Fill at the rule's price."""

    model: Literal["none"] = "none"


class PercentSlippage(Model):
    """Market and stop orders fill worse by a share of the price: ``price * (1 ± rate)``."""

    model: Literal["percent"] = "percent"
    rate: float = Field(ge=0, lt=1, description="fraction of the price, 0.0005 is 5 basis points")


class FixedSlippage(Model):
    """Market and stop orders fill worse by money a unit: ``price ± amount``."""

    model: Literal["fixed"] = "fixed"
    amount: float = Field(ge=0, description="money a unit")


class BasisPointsSlippage(Model):
    """Market and stop orders fill worse by basis points of the price: ``price * (1 ± points / 10,000)``."""

    model: Literal["basis_points"] = "basis_points"
    points: float = Field(ge=0, lt=10_000, description="basis points, 5 is 0.05%")


class VolumeShareSlippage(Model):
    """Market and stop orders move the price by their share of the bar's volume, squared.

    ``price * (1 ± impact * min(size / volume, limit) ** 2)``; a bar without volume counts as the limit. Source of the
    formula: zipline's `VolumeShareSlippage`, whose price impact is 0.1 too; it caps the share at 2.5% because it
    fills no more than that, which is another rule here (the volume cap), and it counts all that was filled in the bar
    where this counts the fill's own size.
    """

    model: Literal["volume_share"] = "volume_share"
    impact: float = Field(0.1, ge=0, lt=1, description="fraction of the price that a whole bar's volume would cost")
    limit: float = Field(1.0, gt=0, le=1, description="the largest share of the volume that counts")


class SpreadSlippage(Model):
    """Bars are the middle of a quote: market, stop and market-if-touched orders pay half of its spread, ``price ± spread / 2``."""

    model: Literal["spread"] = "spread"
    spread: float = Field(ge=0, description="ask less bid, money a unit")


Slippage = Annotated[
    NoSlippage | PercentSlippage | FixedSlippage | BasisPointsSlippage | VolumeShareSlippage | SpreadSlippage,
    Field(discriminator="model"),
]


# -- what time costs ----------------------------------------------------------------------------------------


class NoBorrow(Model):
    """Shorts are borrowed for free."""

    model: Literal["none"] = "none"


class AnnualBorrow(Model):
    """Shorts pay a fee for borrowing: ``rate * short market value * calendar days / days``, by local date.

    Charged at the first instant of a local date, for the nights since the date before that had one (three over a
    weekend), on the shorts held then, at that date's last closes.
    """

    model: Literal["annual"] = "annual"
    rate: float = Field(ge=0, description="a year's fee as a fraction of the short market value, 0.03 is 3%")
    days: Literal[360, 365] = Field(365, description="days that a year is counted as")


class NoInterest(Model):
    """Debts are free."""

    model: Literal["none"] = "none"


class AnnualInterest(Model):
    """Debit cash pays interest: ``rate * debit * calendar days / days``, charged as the borrow fee is.

    The debit is the account's cash if it is below zero, proceeds of short sales included. Credit earns nothing.
    """

    model: Literal["annual"] = "annual"
    rate: float = Field(ge=0, description="a year's interest as a fraction of the debit, 0.06 is 6%")
    days: Literal[360, 365] = Field(365, description="days that a year is counted as")


Borrow = Annotated[NoBorrow | AnnualBorrow, Field(discriminator="model")]
Interest = Annotated[NoInterest | AnnualInterest, Field(discriminator="model")]
