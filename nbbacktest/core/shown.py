"""Values of users as text: an error of their own `__repr__` or `__str__` never hides the message that shows them."""

from __future__ import annotations

import json
import re
from typing import Any

_UNPRINTED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""Characters that a terminal obeys instead of showing, except for line ends and tabs: C0, C1, bidi controls, invisible ones."""


def shown(value: object) -> str:
    """The `repr` of any value; if that raises, its class and the error."""
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - whatever a user's code raises
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"


def spoken(value: Any) -> Any:
    """The value itself if it can be written, else the text of `shown`."""
    try:
        str(value)
    except Exception:  # noqa: BLE001 - as above
        return shown(value)
    return value


def said(error: BaseException) -> str:
    """An exception's class and message; if its `str` raises, the class and that error."""
    try:
        message = str(error)
    except Exception as other:  # noqa: BLE001 - as above
        message = f"its str raised {type(other).__name__}"
    return f"{type(error).__name__}: {message}"


def printed(text: str) -> str:
    r"""The text with all that a terminal would obey instead of showing it escaped, but for line ends and tabs.

    Examples
    --------
    >>> print(printed("red: \x1b[31m"))
    red: \x1b[31m
    """
    return _UNPRINTED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def printed_json(text: str) -> str:
    """The same for JSON, which stays the JSON that it was."""
    return _UNPRINTED.sub(lambda found: json.dumps(found[0])[1:-1], text)
