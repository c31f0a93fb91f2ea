"""The JSON schemas that users may ask for by name."""

from __future__ import annotations

from typing import Any

from nbbacktest.core.config import config_schema
from nbbacktest.core.errors import nearest
from nbbacktest.system.status import status_schema

_SCHEMAS = {"config": config_schema, "status": status_schema}


def schema(name: str = "config") -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of ``"config"``, the session config, or ``"status"``, the JSON status.

    Raises
    ------
    ValueError
        For any other name.
    """
    if name not in _SCHEMAS:
        raise ValueError(f"there is no schema {name!r}; {nearest(name, _SCHEMAS)}")
    return _SCHEMAS[name]()
