"""Stand-ins for what `threading` has, on a scheduler: each use of one is a point where others may go on.

What no task does, such as wiring a run before it starts and reading its result after its end, is never interrupted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import nbbacktest.core.monitor as real
from tests.interleavings.scheduler import StuckError, Task, present

OUTSIDE = Task("outside")
"""Who does what no task does."""


def here() -> Task:
    """The task that is under way."""
    scheduler = present()
    return OUTSIDE if scheduler is None or scheduler.current is None else scheduler.current


def point(label: str) -> None:
    """Let others go on here, maybe."""
    scheduler = present()
    if scheduler is not None and scheduler.current is not None:
        scheduler.point(label)


def _block(label: str, seconds: float | None = None) -> bool:
    scheduler = present()
    if scheduler is None:
        raise StuckError(f"what no task does would wait for ever: {label}")
    return scheduler.block(label, seconds)


def _wake(task: Task) -> None:
    scheduler = present()
    if scheduler is not None:
        scheduler.wake(task)


class Lock:
    """Held by one task; any may release it."""

    _reentrant = False

    def __init__(self) -> None:
        self.owner: Task | None = None
        self.count = 0
        self.waiting: list[Task] = []
        self.before_release: list[Callable[[], object]] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        task = here()
        if self._reentrant and self.owner is task:
            self.count += 1
            return True
        point("acquire")
        end = now() + timeout
        while self.owner is not None:
            if not blocking:
                return False
            self.waiting.append(task)
            if not _block("acquire", None if timeout < 0 else end - now()):
                if task in self.waiting:
                    self.waiting.remove(task)  # else it was released too late: it is free, and not this task's
                return False
        self.owner, self.count = task, 1
        return True

    def release(self) -> None:
        if self.owner is None or (self._reentrant and self.owner is not here()):
            raise RuntimeError(f"{here().name} releases a lock of {self.owner and self.owner.name}")
        self.count -= 1
        if not self.count:
            for look in self.before_release:
                look()
            self.owner = None
            for task in self.waiting:
                _wake(task)
            self.waiting.clear()

    def locked(self) -> bool:
        return self.owner is not None

    def is_mine(self) -> bool:
        """Whether the task under way holds it."""
        return self.owner is here()

    _is_owned = is_mine

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()


class RLock(Lock):
    """A lock that its holder may take again; only its holder may release it."""

    _reentrant = True


class Condition:
    """Wakes exactly those that wait when it is notified: a notification that is missing is never made up for."""

    def __init__(self, lock: Lock | None = None) -> None:
        self._lock = RLock() if lock is None else lock
        self._asleep: set[Task] = set()

    def wait(self, timeout: float | None = None) -> bool:
        task, lock = here(), self._lock
        if lock.owner is not task:
            raise RuntimeError(f"{task.name} waits on a condition that it doesn't hold")
        count, lock.count = lock.count, 1
        lock.release()
        self._asleep.add(task)
        _block("wait", timeout)
        while lock.owner is not None:
            lock.waiting.append(task)
            _block("wait, to have the lock again")
        lock.owner, lock.count = task, count
        was_notified = task not in self._asleep
        self._asleep.discard(task)
        return was_notified

    def notify_all(self) -> None:
        if not self._lock.is_mine():
            raise RuntimeError(f"{here().name} notifies by a condition that it doesn't hold")
        for task in self._asleep:
            _wake(task)
        self._asleep.clear()


class Watched(real.Monitor):
    """A `Monitor` that knows what is waited for in its `until`.

    Where a task leaves the lock, and what another one waits for has come about without its being notified, that is a
    complaint: if it is woken after all, then by chance, and late.
    """

    def __init__(self) -> None:
        super().__init__()
        self._answers: dict[object, Callable[[], Any]] = {}  # by the task that waits and hasn't found it yet
        self.lock.before_release.append(self._look_for_forgotten)  # type: ignore[attr-defined]

    def until(self, answer: Callable[[], Any], timeout: float | None = None) -> Any:
        task = here()

        def noted() -> Any:
            self._answers[task] = answer
            found = answer()
            if found:
                del self._answers[task]
            return found

        return super().until(noted, timeout)

    def _look_for_forgotten(self) -> None:
        scheduler = present()
        if scheduler is None or not self._tickets:
            return
        task, scheduler.current = scheduler.current, None  # looking is no point
        try:
            for ticket in self._tickets:
                sleeper: Task = ticket.owner  # type: ignore[attr-defined]
                if sleeper is not task and sleeper in self._answers and self._answers[sleeper]():
                    scheduler.complain(f"{sleeper.name} sleeps on, though what it waits for is so: it isn't notified")
        finally:
            scheduler.current = task


class Thread:
    """A task that is begun by `start`."""

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] = lambda: None,
        name: str = "thread",
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        daemon: bool | None = None,
    ) -> None:
        self.name = name
        self.daemon = bool(daemon)
        self.ident: int | None = None
        self._work = lambda: target(*args, **(kwargs or {}))
        self._task: Task | None = None

    @classmethod
    def of(cls, task: Task) -> Self:
        """The one that a task is to find itself in."""
        made = cls(name=task.name)
        made._task, made.ident = task, id(task)
        return made

    def start(self) -> None:
        point("start a thread")
        scheduler = present()
        if scheduler is None:
            raise StuckError(f"{self.name} is started outside of a schedule")
        self._task = scheduler.spawn(self.name.removeprefix("nbbacktest-").removeprefix("test-"), self._work)
        self._task.thread = self
        self.ident = id(self._task)

    def is_alive(self) -> bool:
        return self._task is not None and self._task.state != "done"

    def join(self, timeout: float | None = None) -> None:
        while self.is_alive():
            if timeout is not None and timeout <= 0:
                return
            _block("join", 0.01)
            timeout = None if timeout is None else timeout - 0.01


def current_thread() -> Any:
    task = here()
    if task.thread is None:
        task.thread = Thread.of(task)
    return task.thread


def main_thread() -> Any:
    """That of the first task that gives commands: it alone has `apart` and `started` use a thread. No task's, outside."""
    scheduler = present()
    for task in scheduler.tasks if scheduler is not None else ():
        if task.is_users:
            return task.thread
    return None


def start_new_thread(function: Callable[..., object], args: tuple[Any, ...]) -> None:
    """Begin a task as C code does: in one step."""
    scheduler = present()
    if scheduler is None:
        raise StuckError("a thread is started outside of a schedule")
    scheduler.spawn("apart", lambda: function(*args))


class Beneath:
    """In the place of the module `_thread`."""

    start_new_thread = staticmethod(start_new_thread)


class Threading:
    """In the place of the module `threading`."""

    Lock, RLock, Condition, Thread = Lock, RLock, Condition, Thread
    TIMEOUT_MAX = threading.TIMEOUT_MAX
    current_thread = staticmethod(current_thread)
    get_ident = staticmethod(lambda: id(here()))
    main_thread = staticmethod(main_thread)
    active_count = staticmethod(lambda: 2)


def now() -> float:
    """Seconds on the scheduler's clock; it stands still outside of a schedule."""
    scheduler = present()
    return 1000.0 if scheduler is None else scheduler.now


def sleep(seconds: float) -> None:
    """Let so many seconds pass."""
    scheduler = present()
    if scheduler is not None:
        if scheduler.current is not None:
            scheduler.block("sleep", seconds)
        else:
            scheduler.now += seconds


class Clock:
    """The run's clock: the scheduler's."""

    now = staticmethod(now)

    @staticmethod
    def wait(condition: real.Monitor, until: float | None) -> None:
        if until is None:
            condition.wait()
        elif (left := until - now()) > 0:
            condition.wait(left)
