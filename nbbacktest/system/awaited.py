"""Waiting for the end of a system's run, in a thread or in an event loop."""

from __future__ import annotations

import contextlib

from nbbacktest.report.result import Result
from nbbacktest.system.observed import ObservedSystem
from nbbacktest.system.run import Run, outcome
from nbbacktest.system.turns import TURNS

FLUSH_SECONDS = 5.0
"""How long the end of a wait waits for callbacks that are under way."""


class AwaitedSystem(ObservedSystem):
    """An `ObservedSystem` whose run's end can be waited for."""

    def wait(self, timeout: float | None = None) -> Result:
        """Wait for the end of the present run, or take that of the last one.

        Raises
        ------
        TimeoutError
            The run goes on after `timeout` seconds.
        StrategyError
            A strategy raised; what was done until then is in `.result`.
        """
        run = self._latest()
        if run.is_engine_thread():
            raise RuntimeError("a strategy can't wait for the end of its own run")
        if not run.wait(timeout):
            raise TimeoutError(f"the run is {self._life.state} after {timeout:g} s; it goes on")
        self._announcer.flush(FLUSH_SECONDS)
        return outcome(run)

    async def finished(self) -> Result:
        """Wait for the end without blocking the event loop; returns and raises what `wait` does."""
        import asyncio

        run, loop = self._latest(), asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()

        def settle() -> None:
            if not over.done():
                over.set_result(None)

        def tell(_run: Run) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile: nobody waits any more
                loop.call_soon_threadsafe(settle)

        forget = run.when_done(tell)
        TURNS.attend()
        try:
            await over
        finally:
            forget()
        return outcome(run)
