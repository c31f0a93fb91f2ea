"""A run on its way to a place where it is to rest: a step or a run_until."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Watcher = Callable[[Any], object]


class Trip:
    """One such request. The gate writes it under its condition; whoever asked keeps it and waits until it is over.

    Attributes
    ----------
    target : int or None
        Completed instants to rest at.
    watcher : callable or None
        Asked by the analysis, with no lock held, after every instant beyond `after`.
    stepping : bool
        Whether it doesn't wait for the clock.
    begun : bool
        Whether the run was sent on its way.
    over : bool
        Whether the run rests, or goes on for somebody else.
    reached : bool
        Whether it came to its place.
    error : BaseException or None
        What the watcher raised.
    """

    __slots__ = ("after", "begun", "error", "over", "reached", "stepping", "target", "watcher")

    def __init__(
        self, after: int, target: int | None = None, watcher: Watcher | None = None, *, stepping: bool = False
    ) -> None:
        self.after = after
        self.target = target
        self.watcher = watcher
        self.stepping = stepping
        self.begun = False
        self.over = False
        self.reached = False
        self.error: BaseException | None = None

    def limit(self, cursor: int) -> int | None:
        """How far the cursor may go from here before the gate is asked again; None where nothing bounds it."""
        return self.target if self.watcher is None else cursor + 1
