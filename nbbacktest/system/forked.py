"""Forked children: none of the parent's threads are there, so that every manager of the parent is stopped in them."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_resets: weakref.WeakKeyDictionary[object, Callable[[object], None]] = weakref.WeakKeyDictionary()


def reset_when_forked(manager: T, reset: Callable[[T], None]) -> None:
    """Have `reset(manager)` called in each child that this process forks."""
    _resets[manager] = reset  # type: ignore[assignment]


def _in_child() -> None:
    for manager, reset in list(_resets.items()):
        reset(manager)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
