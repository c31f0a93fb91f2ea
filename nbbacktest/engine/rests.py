"""The objects that the analysis asks between two instants: about breakpoints, the past, and changes by other threads."""

from __future__ import annotations

from typing import Protocol


class InstantWatch(Protocol):
    """Looks for the instants at which a run is to be held. Every method is called by the analysis thread alone.

    Attributes
    ----------
    asks_each : bool
        True if `completed` is to be called.
    """

    asks_each: bool

    def completed(self, cursor: int) -> None:
        """Called after each instant; it calls the gate in for one at which the run is to be held."""
        ...

    def arrived(self, cursor: int) -> None:
        """Called at each boundary: hold the run, if it is to rest here."""
        ...

    def renewed(self, cursor: int) -> bool:
        """Called before the run goes on: True if there was something new to look for, and it needs another decision of the gate."""
        ...


class RestGuard(Protocol):
    """Watches what other threads do to the agent while the run is at rest. Called by the analysis thread."""

    def rest(self) -> None:
        """At a boundary of a run that is held."""
        ...

    def go_on(self) -> Exception | None:
        """Before the run goes on: the error to hold it for again, if it isn't as it was."""
        ...


class PastKeeper(Protocol):
    """Looks after a run that was taken back, until it has come to its horizon again. Called by the analysis thread."""

    def arrive(self, cursor: int) -> None:
        """At a boundary: do what was done by hand at that place, and hold the run against its record."""
        ...

    def depart(self, cursor: int) -> bool:
        """Before the next instant is delivered: do what was still to be done by hand there; True if anything was."""
        ...
