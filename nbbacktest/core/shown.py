"""Values of users as text: what their own `__repr__` or `__str__` raises never takes the place of what was to be said."""

from __future__ import annotations

from typing import Any


def shown(value: object) -> str:
    """`repr` of any value; where that raises, its class and what was raised."""
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - whatever a user's code raises
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"


def spoken(value: Any) -> Any:
    """The value itself where it can be written, else what `shown` says of it."""
    try:
        str(value)
    except Exception:  # noqa: BLE001 - as above
        return shown(value)
    return value


def said(error: BaseException) -> str:
    """An exception's class and message; where its `str` raises, that is said instead."""
    try:
        message = str(error)
    except Exception as other:  # noqa: BLE001 - as above
        message = f"its str raised {type(other).__name__}"
    return f"{type(error).__name__}: {message}"
