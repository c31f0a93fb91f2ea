"""The event dispatcher: calls the callbacks of a system in order, in a thread of its own, with no lock held."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from nbbacktest.core.monitor import Monitor, started
from nbbacktest.core.user_code import unrun
from nbbacktest.system.runner import has_threads

logger = logging.getLogger("nbbacktest")

Callback = Callable[[Any], object]


class EventDispatcher:
    """A queue of events and the thread that empties it.

    The first event with a callback starts the thread; it ends when the queue is empty and no progress is polled. An
    exception of a callback is logged, and the run goes on.
    """

    PROGRESS_SECONDS = 0.1

    def __init__(self) -> None:
        # Guards all fields below. Taken under the gate's condition, so nothing is called while it is held.
        self._changed = Monitor()
        self._callbacks: dict[str, list[Callback]] = {"state": [], "progress": [], "end": []}
        self._queue: deque[tuple[str, Any]] = deque()
        self._progress: Callable[[], Any] | None = None
        self._thread: threading.Thread | None = None
        self._calling = False
        self._has_turn = False  # without threads: a call of `_come` is scheduled and wasn't made yet

    def subscribe(self, kind: str, callback: Callback) -> Callable[[], None]:
        """Call `callback` at every event of that kind; returns the function that unsubscribes it.

        Raises
        ------
        TypeError
            For a coroutine or generator function.
        """
        if (reason := unrun(callback)) is not None:
            raise TypeError(f"on_{kind}({getattr(callback, '__name__', callback)}): it {reason}")
        with self._changed.lock:
            self._callbacks[kind].append(callback)
            self._wake()

        def unsubscribe() -> None:
            with self._changed.lock:
                if callback in self._callbacks[kind]:
                    self._callbacks[kind].remove(callback)
                self._changed.notify_all()

        return unsubscribe

    def post(self, kind: str, payload: Any) -> None:
        """Queue an event. Returns at once; any thread, under any lock but the dispatcher's own."""
        with self._changed.lock:
            if self._callbacks[kind]:
                self._queue.append((kind, payload))
                self._wake()

    def poll_progress(self, progress: Callable[[], Any] | None) -> None:
        """Call `progress` ten times a second for its callbacks, as long as there are any; None ends it."""
        with self._changed.lock:
            self._progress = progress
            self._wake()

    def run_ended(self, run: Any) -> None:
        """Queue the end of a run, with its result; its progress isn't polled any more."""
        with self._changed.lock:
            if self._progress == run.followed:  # otherwise the next run has begun already
                self.poll_progress(None)
        self.post("end", run.result)

    def flush(self, timeout: float) -> bool:
        """Wait until the events in the queue have been dispatched; returns at once inside a callback."""
        if not has_threads():
            self._take_turn()
            return True
        if threading.current_thread() is self._thread:
            return True
        return self._changed.until(lambda: self._thread is None or not (self._queue or self._calling), timeout)

    def _wake(self) -> None:
        if not has_threads():
            self._ask_for_turn()
        elif self._thread is None and (self._queue or self._polling()):
            self._thread = threading.Thread(target=self._work, name="nbbacktest-events", daemon=True)
            try:
                started(self._thread)
            except BaseException as error:
                # if the thread has started nevertheless, it finds that it isn't `_thread`, and ends
                self._thread = None
                if not isinstance(error, RuntimeError):
                    raise
                # No thread to be had, or the interpreter is ending: the run matters more.
                logger.exception("callbacks can't be called now; the next event tries again")
        self._changed.notify_all()

    def _ask_for_turn(self) -> None:
        if not self._has_turn and (self._queue or self._polling()):
            from nbbacktest.system.cooperative import CALLS

            self._has_turn = True
            CALLS.call_later(0.0 if self._queue else self.PROGRESS_SECONDS, self._come)

    def _come(self) -> None:
        self._has_turn = False
        if not self._queue and self._polling():
            self._tell("progress", self._progress, tuple(self._callbacks["progress"]))
        self._take_turn()

    def _take_turn(self) -> None:
        """Dispatch the queue in the caller's thread. Inside a callback it does nothing, to keep the order."""
        if self._calling:
            return
        self._calling = True
        try:
            while self._queue:
                kind, payload = self._queue.popleft()
                self._tell(kind, payload, tuple(self._callbacks[kind]))
        finally:
            self._calling = False
        self._ask_for_turn()

    def _polling(self) -> bool:
        return self._progress is not None and bool(self._callbacks["progress"])

    def _work(self) -> None:
        while True:
            with self._changed.lock:
                if self._thread is not threading.current_thread():
                    return
                if not self._queue and self._polling():
                    self._changed.wait(self.PROGRESS_SECONDS)
                if self._queue:
                    kind, payload = self._queue.popleft()
                elif self._polling():
                    kind, payload = "progress", self._progress
                else:
                    self._thread = None
                    self._changed.notify_all()
                    return
                callbacks = tuple(self._callbacks[kind])
                self._calling = True
            try:
                self._tell(kind, payload, callbacks)
            finally:
                with self._changed.lock:
                    self._calling = False
                    self._changed.notify_all()

    @staticmethod
    def _tell(kind: str, payload: Any, callbacks: tuple[Callback, ...]) -> None:
        try:
            if callable(payload) and callbacks:
                payload = payload()
        except Exception:
            logger.exception("what the on_%s callbacks are to be told can't be made", kind)
            return
        for callback in callbacks:
            try:
                callback(payload)
            except BaseException:  # even SystemExit: it would end this thread, and all other callbacks with it
                logger.exception("the on_%s callback %r raised; the run goes on", kind, callback)
