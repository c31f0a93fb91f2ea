"""Orders: what they are, how they are asked for, and when each type of them fills."""

from nbbacktest.trading.orders.order import Fill, Order, OrderEvent, OrderTerms

__all__ = ["Fill", "Order", "OrderEvent", "OrderTerms"]
