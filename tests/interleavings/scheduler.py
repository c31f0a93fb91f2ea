"""A deterministic scheduler: greenlets in place of threads, one at a time, and time that passes only when it is told to.

Every place where a thread could lose the interpreter and another could notice is a *point*: there `Choices` say which
task goes on. The same choices give the same schedule, to the last step.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Protocol, Self

import greenlet


class StuckError(Exception):
    """A schedule that doesn't end: tasks that wait for each other, or that go round in circles."""


class Task:
    """What would be a thread.

    Attributes
    ----------
    state : str
        ``"ready"``, ``"blocked"`` or ``"done"``.
    deadline : float or None
        When a blocked task goes on by itself, in the scheduler's seconds.
    label : str
        The point that it stands at.
    is_users : bool
        Whether it is one that gives commands: it must come to its end.
    error : BaseException or None
        What ended it.
    thread : object
        What `threading.current_thread()` answers inside it.
    """

    __slots__ = ("deadline", "error", "is_users", "label", "let", "name", "state", "thread", "timed_out")

    def __init__(self, name: str, *, is_users: bool = False) -> None:
        self.name = name
        self.is_users = is_users
        self.state = "ready"
        self.label = "start"
        self.deadline: float | None = None
        self.timed_out = False
        self.error: BaseException | None = None
        self.thread: object = None
        self.let: greenlet.greenlet | None = None


CLOCK = Task("clock")
"""What is chosen where time passes although a task could go on."""


class Choices(Protocol):
    """Says what happens next."""

    def pick(self, options: Sequence[Task], *, may_go_on: bool) -> int:
        """The place in `options` of what goes on.

        Asked only where there are several. Where `may_go_on`, the first is the task that went on last: to pick another
        is to preempt it. `CLOCK`, the last one where it is among them, lets time pass to the next deadline.
        """
        ...


class Scheduler:
    """Runs one schedule. Used as a context manager: what it left unfinished is ended with it.

    Parameters
    ----------
    choices
        See `Choices`.
    when_idle
        Called when no task can go on and no deadline is left, or, with True, when `POLLS` deadlines have passed since
        the last `mark`: those who poll see nothing new. True where it has started another task.

    Attributes
    ----------
    now : float
        Seconds.
    steps, preemptions : int
    trace : list of str
        Each step: the task, and the point that it went on from.
    complaints : list of str
        What the stand-ins for locks have found wrong; each is noted once.
    """

    STEPS = 60_000
    """After so many steps a schedule counts as one that goes round in circles; usual ones have 200."""
    WAKINGS = 3_000
    """The same for deadlines that pass while nobody can go on."""
    POLLS = 300
    NEAR = 0.05
    """Seconds: a deadline that is further away isn't waited for while a task can go on."""

    def __init__(self, choices: Choices, when_idle: Callable[[bool], bool] = lambda polling: False) -> None:
        self.when_idle = when_idle
        self.now = 1000.0
        self.steps = self.preemptions = self.wakings = 0
        self.trace: list[str] = []
        self.complaints: list[str] = []
        self.tasks: list[Task] = []
        self.current: Task | None = None
        self._choices = choices
        self._polls = 0
        self._hub = greenlet.getcurrent()

    def __enter__(self) -> Self:
        global _present  # noqa: PLW0603 - as threads are the process's, so is what stands in for them
        _present = self
        return self

    def __exit__(self, *exc: object) -> None:
        global _present  # noqa: PLW0603
        self.current = None
        _present = None
        for task in self.tasks:
            if task.state != "done" and task.let is not None:
                task.let.throw(greenlet.GreenletExit)

    # -- what tasks call ------------------------------------------------------------------------------------

    def spawn(self, name: str, body: Callable[[], object], *, is_users: bool = False) -> Task:
        """Begin a task; it goes on when it is chosen."""
        task = Task(name, is_users=is_users)

        def work() -> None:
            try:
                body()
            except greenlet.GreenletExit:
                raise
            except BaseException as error:  # noqa: BLE001 - judged when the schedule is over
                task.error = error
            task.state = "done"

        task.let = greenlet.greenlet(work, self._hub)
        self.tasks.append(task)
        return task

    def point(self, label: str) -> None:
        """Let another task go on here, maybe; nothing outside of a task."""
        task = self.current
        if task is not None:
            task.label = label
            self._hub.switch()

    def block(self, label: str, seconds: float | None = None) -> bool:
        """Wait for `wake`; False where `seconds` passed first."""
        task = self.current
        if task is None:
            raise StuckError(f"what no task does would wait for ever: {label}")
        task.state, task.label, task.timed_out = "blocked", label, False
        task.deadline = None if seconds is None else self.now + max(seconds, 0.0)
        self._hub.switch()
        return not task.timed_out

    def wake(self, task: Task) -> None:
        """Let a blocked task go on."""
        if task.state == "blocked":
            task.state, task.deadline = "ready", None

    def mark(self) -> None:
        """Say that something has been achieved."""
        self._polls = 0

    def complain(self, complaint: str) -> None:
        """Note what is wrong with how tasks use what they share."""
        if complaint not in self.complaints:
            self.complaints.append(complaint)

    # -- the schedule ---------------------------------------------------------------------------------------

    def run(self) -> None:
        """Go on until nobody can.

        Raises
        ------
        StuckError
            Where it doesn't end.
        """
        # A tracer keeps a stack for each thread, and here are several in one: coverage would count wrong lines.
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            self._run()
        finally:
            sys.settrace(tracer)

    def _run(self) -> None:
        last: Task | None = None
        while True:
            options = [task for task in self.tasks if task.state == "ready"]
            deadlines = [task.deadline for task in self.tasks if task.deadline is not None]
            if options:
                last = self._go_on(options, deadlines, last)
            elif deadlines:
                self._wait(min(deadlines))
            elif not self.when_idle(False):
                return

    def _go_on(self, options: list[Task], deadlines: list[float], last: Task | None) -> Task | None:
        """Let one of those go on that can, or the clock; the task that went on last."""
        self.steps += 1
        if self.steps > self.STEPS:
            raise StuckError(f"it goes round in circles:\n{self.story()}")
        may_go_on = last is not None and last.state == "ready"
        if may_go_on and last is not options[0]:
            options.remove(last)  # type: ignore[arg-type]
            options.insert(0, last)  # type: ignore[arg-type]
        if deadlines and min(deadlines) - self.now <= self.NEAR:
            options.append(CLOCK)
        task = options[self._choices.pick(options, may_go_on=may_go_on) if len(options) > 1 else 0]
        self.trace.append(f"{task.name}: {task.label}")
        if task is CLOCK:
            self._let_pass(min(deadlines))
            return last
        self.preemptions += may_go_on and task is not last
        self.current = task
        task.let.switch()  # type: ignore[union-attr]
        self.current = None
        return task

    def _wait(self, until: float) -> None:
        """Let time pass, since nobody can go on."""
        self._let_pass(until)
        self.wakings += 1
        if self.wakings > self.WAKINGS:
            raise StuckError(f"time passes, and nothing else does:\n{self.story()}")
        self._polls += 1
        if self._polls > self.POLLS:
            self._polls = 0
            self.when_idle(True)

    def _let_pass(self, until: float) -> None:
        self.now = max(self.now, until)
        for task in self.tasks:
            if task.deadline is not None and task.deadline <= self.now:
                self.wake(task)
                task.timed_out = True

    def story(self) -> str:
        """Where each task stands that isn't done."""
        told = []
        for task in self.tasks:
            if task.state != "done":
                frame = task.let.gr_frame if task.let is not None else None
                stack = "".join(traceback.format_stack(frame)[-6:]) if frame is not None else ""
                told.append(f"-- {task.name} is {task.state} at {task.label!r}, deadline {task.deadline}\n{stack}")
        return "\n".join(told)


_present: Scheduler | None = None


def present() -> Scheduler | None:
    """The scheduler whose schedule runs now; None outside of one."""
    return _present
