"""Orders: their records, the requests for them, and the rules by which each type fills."""

from nbbacktest.trading.orders.order import Fill, Order, OrderEvent, OrderTerms

__all__ = ["Fill", "Order", "OrderEvent", "OrderTerms"]
