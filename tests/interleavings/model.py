"""An explicit model of a run: the three stages, the gate, two subscriptions and those who command, all interleavings of them.

Every section under a lock is one step, and so is every read or write of a shared field without one. Who waits goes on
when it is notified, and so lost notifications are seen. A deadline may pass at any time, and what was published may be
fresh or stale. `Model.search` goes through all states that can be reached.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from nbbacktest.core.enums import SystemState
from nbbacktest.core.lifecycle import Command
from tests.interleavings.model_state import FIELDS, UNLIMITED, BrokenError, Plan, State, Trip

RUNNING, PAUSED, STOPPED = SystemState.RUNNING, SystemState.PAUSED, SystemState.STOPPED
Word = tuple[str, int]
Faults = frozenset[str]


class Found(NamedTuple):
    """What a search found: how many states, and the fault with the way to it, or nothing."""

    states: int
    fault: str


class Model:
    """A run of so many instants, released by windows, and controllers that each give commands one after the other.

    Parameters
    ----------
    faults
        What is wrong on purpose, to prove that the search sees it: see `FAULTS`.
    """

    def __init__(
        self, instants: int, window: int, *scripts: Sequence[Word], speed: int = 0, paused: bool = False,
        raises_at: int | None = None, on_error: str = "stop", turn: int = UNLIMITED, faults: Faults = frozenset(),
    ) -> None:  # fmt: skip
        self._instants, self._window, self._scripts = instants, window, scripts
        self._raises_at, self._on_error, self._turn, self._faults = raises_at, on_error, turn, faults
        places = [(who, at) for who, one in enumerate(scripts) for at, word in enumerate(one) if word[0] in _TRIPS]
        self._trips = {place: number for number, place in enumerate(places)}
        start: dict[str, Any] = dict.fromkeys(FIELDS, 0) | {
            "life": RUNNING, "user": paused, "trip": None, "trips": (Trip(),) * len(places), "closed": False,
            "ended": False, "started": False, "busy": True, "paced": speed > 0, "speed": speed, "repacing": None, "up_ready": False,
            "up_closed": False, "down_ready": False, "down_closed": False, "plan": Plan(), "batch": None,
            "analysis_over": False, "done": False, "coordinator": ("start",), "processor": ("ready",),
            "analysis": ("start",), "controllers": (("next", 0),) * len(scripts), "asleep": frozenset(),
        }  # fmt: skip
        self._start = tuple(start[name] for name in FIELDS)

    # -- the search -----------------------------------------------------------------------------------------

    def search(self) -> Found:
        """Go through all states."""
        came_from: dict[tuple[Any, ...], Any] = {self._start: None}
        waiting = deque([self._start])
        while waiting:
            state = waiting.popleft()
            try:
                following = self._following(state)
                if all(after == state for after in following):
                    self._check_end(State(state))
            except BrokenError as error:
                return Found(len(came_from), f"{error}\n{self._way(came_from, state)}")
            for after in following:
                if after not in came_from:
                    came_from[after] = state
                    waiting.append(after)
        return Found(len(came_from), "")

    @staticmethod
    def _way(came_from: dict[tuple[Any, ...], Any], state: tuple[Any, ...]) -> str:
        """The places of all tasks on the way to a state."""
        told = []
        while state is not None:
            at = State(state)
            told.append(f"{at.life} {at.coordinator} {at.processor} {at.analysis} {at.controllers}")
            state = came_from[state]
        return "\n".join(reversed(told[:40]))

    def _following(self, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        asleep = {who for who, _ in values[_ASLEEP]}
        found = []
        for who in ("coordinator", "processor", "analysis"):
            state = State(values)
            is_due = who in asleep and state.coordinator[0] == "sleep"  # a deadline may pass at any time
            if who not in asleep or (who == "coordinator" and is_due):
                after = getattr(self, f"_{who}")(state, *getattr(state, who), *([is_due] if is_due else []))
                found += [one.frozen() for one in (after or [state])]
        for number in range(len(self._scripts)):
            if number not in asleep:
                state = State(values)
                self._controller(state, number)
                found.append(state.frozen())
        return found

    def _check_end(self, state: State) -> None:
        if any(place != ("next", len(script)) for place, script in zip(state.controllers, self._scripts, strict=True)):
            raise BrokenError("a command never returns")
        if state.life is RUNNING:
            raise BrokenError("it is running, and nothing moves")
        gone = state.coordinator[0] == state.processor[0] == state.analysis[0] == "gone"
        if state.life is STOPPED and not (state.done and gone):
            raise BrokenError("it is stopped, and threads are left")
        if state.life is PAUSED and (state.closed or state.published != state.delivered):
            raise BrokenError("it is paused, and what is published is old")
        is_cut = self._raises_at is not None or any(word[0] == "stop" for one in self._scripts for word in one)
        if state.life is STOPPED and not is_cut and state.delivered != self._instants:
            raise BrokenError(f"it ended after {state.delivered} instants")

    # -- the coordinator ------------------------------------------------------------------------------------

    def _coordinator(self, s: State, at: str, *rest: Any) -> None:
        getattr(self, f"_coordinator_{at}")(s, *rest)

    def _coordinator_start(self, s: State) -> None:
        if s.closed or s.started:
            s.coordinator = ("loop",)  # whether it is closed is read anew, as it is there
        else:
            s.sleep("coordinator", "gate")

    def _coordinator_loop(self, s: State) -> None:
        s.coordinator = ("close",) if s.closed else ("speed",)

    def _coordinator_speed(self, s: State) -> None:
        s.coordinator = ("open",) if s.speed else ("reset",)

    def _coordinator_open(self, s: State) -> None:
        if s.closed or not s.is_held:
            s.coordinator = ("opened",)
        else:
            s.sleep("coordinator", "gate")

    def _coordinator_opened(self, s: State) -> None:
        s.coordinator = ("close",) if s.closed else ("reset",)

    def _coordinator_reset(self, s: State) -> None:
        if s.up_ready and not s.up_closed and "plans at once" not in self._faults:
            s.sleep("coordinator", "up")
        else:
            s.coordinator = ("was_reset",)

    def _coordinator_was_reset(self, s: State) -> None:
        s.coordinator = ("close",) if s.up_closed else ("generation",)

    def _coordinator_generation(self, s: State) -> None:
        s.coordinator = ("cursor", s.generation)

    def _coordinator_cursor(self, s: State, generation: int) -> None:
        s.coordinator = ("close",) if s.cursor >= self._instants else ("pace", generation, s.cursor)

    def _coordinator_pace(self, s: State, generation: int, start: int) -> None:
        s.coordinator = ("stepping", generation, start) if s.speed else ("window", generation, start, self._window)

    def _coordinator_stepping(self, s: State, generation: int, start: int) -> None:
        steps = s.journey is not None and s.journey.stepping
        s.coordinator = ("window", generation, start, 1) if steps else ("plan", generation, start)

    def _coordinator_window(self, s: State, generation: int, start: int, length: int) -> None:
        s.plan = Plan(s.plan.serial + 1, start, min(start + length, self._instants), generation)
        s.signal_up()
        s.coordinator = ("loop",)

    def _coordinator_plan(self, s: State, generation: int, start: int) -> None:
        s.plan = Plan(s.plan.serial + 1, start, start, generation, paced=True)
        s.coordinator = ("sleep", generation, start)

    def _coordinator_sleep(self, s: State, generation: int, instant: int, is_due: bool = False) -> None:
        s.asleep = frozenset(one for one in s.asleep if one[0] != "coordinator")
        if instant >= self._instants or s.closed or s.is_held or generation != s.generation:
            s.coordinator = ("loop",)
        elif is_due:
            s.coordinator = ("release", generation, instant)
        else:
            s.sleep("coordinator", "gate")

    def _coordinator_release(self, s: State, generation: int, instant: int) -> None:
        s.plan = s.plan._replace(stop=s.plan.stop + 1)
        s.signal_up()
        s.coordinator = ("sleep", generation, instant + 1)

    def _coordinator_close(self, s: State) -> None:
        s.up_closed = True
        s.wake("up")
        s.coordinator = ("see_out",)

    def _coordinator_see_out(self, s: State) -> None:
        if s.analysis_over:
            s.coordinator = ("finalize",)
        else:
            s.sleep("coordinator", "over")

    def _coordinator_finalize(self, s: State) -> None:
        failed = self._raises_at is not None and self._on_error == "stop" and s.delivered > self._raises_at
        s.end(Command.FAIL if failed else Command.STOP if s.closed else Command.FINISH)
        s.coordinator = ("tell",)

    def _coordinator_tell(self, s: State) -> None:
        s.done = True
        s.wake("over")
        s.coordinator = ("gone",)

    def _coordinator_gone(self, s: State) -> None: ...

    # -- the processor --------------------------------------------------------------------------------------

    def _processor(self, s: State, at: str, *rest: Any) -> None:
        getattr(self, f"_processor_{at}")(s, *rest)

    def _processor_ready(self, s: State) -> None:
        if s.up_closed or s.up_ready:
            s.processor = ("close",) if s.up_closed else ("generation",)
        else:
            s.sleep("processor", "up")

    def _processor_generation(self, s: State) -> None:
        s.processor = ("take", s.generation)

    def _processor_take(self, s: State, generation: int) -> None:
        plan = s.plan
        if plan.serial != s.serial:
            s.serial, s.taken = plan.serial, plan.start
        start = s.taken
        if start >= plan.stop or (plan.generation != generation and "takes any" not in self._faults):
            s.up_ready = False
            s.wake("up")
            s.processor = ("ready",)
        else:
            s.taken = start + 1 if plan.paced else plan.stop
            s.processor = ("batch", start, s.taken, plan.generation)

    def _processor_batch(self, s: State, start: int, stop: int, generation: int) -> None:
        s.batch = start, stop, generation
        s.processor = ("signal",)

    def _processor_signal(self, s: State) -> None:
        s.signal_down()
        s.processor = ("wait",)

    def _processor_wait(self, s: State) -> None:
        if s.down_closed or not s.down_ready:
            s.processor = ("was_reset",)
        else:
            s.sleep("processor", "down")

    def _processor_was_reset(self, s: State) -> None:
        s.processor = ("close",) if s.down_closed else ("generation",)

    def _processor_close(self, s: State) -> None:
        s.up_closed = True
        s.wake("up")
        s.processor = ("close_down",)

    def _processor_close_down(self, s: State) -> None:
        s.down_closed = True
        s.wake("down")
        s.processor = ("gone",)

    def _processor_gone(self, s: State) -> None: ...

    # -- the analysis ---------------------------------------------------------------------------------------

    def _analysis(self, s: State, at: str, *rest: Any) -> list[State] | None:
        return getattr(self, f"_analysis_{at}")(s, *rest)

    def _analysis_start(self, s: State) -> None:
        s.analysis = ("started",)

    def _analysis_started(self, s: State) -> None:
        s.started = True
        if s.closed:
            s.wake("gate")
        else:
            s.come_to_rest()
        s.analysis = ("ready",)

    def _analysis_ready(self, s: State) -> None:
        if s.down_closed or s.down_ready:
            s.analysis = ("tail",) if s.down_closed else ("read",)
        else:
            s.sleep("analysis", "down")

    def _analysis_read(self, s: State) -> None:
        s.analysis = ("boundary", s.batch, s.batch[0], False)

    def _analysis_boundary(self, s: State, batch: Any, cursor: int, leaving: bool) -> list[State]:
        after = []
        for fresh in (True, False) if s.published != cursor else (True,):
            one = State(s.frozen())
            verdict = self._arrive(one, cursor, batch[2], leaving=leaving, fresh=fresh)
            one.analysis = {
                "serve": ("publish", batch, cursor, leaving), "go": ("deliver", batch, cursor),
                "leave": ("reset",), "closed": ("reset",), "rest": one.analysis,
            }[verdict]  # fmt: skip
            after.append(one)
        return after

    def _arrive(self, s: State, cursor: int, generation: int, *, leaving: bool, fresh: bool) -> str:
        """As `Threshold.arrive`."""
        s.cursor = cursor
        if s.closed:
            return "closed"
        if s.published != cursor and s.trip is not None:
            return "serve"
        if s.journey is not None and cursor >= s.journey.target:
            s.reach(s.trip)
        leaves = leaving or generation != s.generation
        if s.published != cursor and (leaves or s.is_held or not fresh):
            return "serve"
        if leaves:
            s.come_to_rest()
            return "leave"
        if not s.is_held:
            s.busy = True
            s.limit = min(UNLIMITED if s.journey is None else s.journey.target, cursor + self._turn)
            return "go"
        s.come_to_rest()
        s.sleep("analysis", "gate")
        return "rest"

    def _analysis_publish(self, s: State, batch: Any, cursor: int, leaving: bool) -> None:
        s.published = cursor
        s.analysis = ("boundary", batch, cursor, leaving)

    def _analysis_deliver(self, s: State, batch: Any, cursor: int) -> None:
        self._check_call(s)
        if cursor != s.delivered:
            raise BrokenError(f"instant {cursor} is delivered as number {s.delivered}")
        s.delivered += 1
        s.analysis = ("call", batch, cursor + 1)

    @staticmethod
    def _check_call(s: State) -> None:
        if s.life is not RUNNING or not s.busy:
            raise BrokenError(f"a callback while it is {s.life}, {'busy' if s.busy else 'at rest'}")

    def _analysis_call(self, s: State, batch: Any, cursor: int) -> None:
        self._check_call(s)
        s.analysis = ("fail" if self._raises_at == cursor - 1 else "limit", batch, cursor)

    def _analysis_fail(self, s: State, batch: Any, cursor: int) -> None:
        if self._on_error == "pause":
            s.hold_for_user()
            s.analysis = ("limit", batch, cursor)
        else:
            s.end()
            s.analysis = ("reset",)

    def _analysis_limit(self, s: State, batch: Any, cursor: int) -> None:
        if cursor >= batch[1]:
            s.analysis = ("boundary", batch, cursor, True)
        else:
            s.analysis = ("boundary", batch, cursor, False) if cursor >= s.limit else ("deliver", batch, cursor)

    def _analysis_reset(self, s: State) -> None:
        if s.down_ready:
            s.down_ready = False
            s.wake("down")
        s.analysis = ("ready",)

    def _analysis_tail(self, s: State) -> None:
        s.analysis = ("last",) if s.published >= self._instants and not s.closed else ("finish",)

    def _analysis_last(self, s: State) -> None:
        verdict = self._arrive(s, self._instants, s.generation, leaving=False, fresh=True)
        if verdict != "rest":
            s.analysis = ("finish",) if verdict in {"go", "closed"} else ("tail",)

    def _analysis_finish(self, s: State) -> None:
        s.down_closed = True
        s.wake("down")
        s.analysis = ("over",)

    def _analysis_over(self, s: State) -> None:
        s.analysis_over = True
        s.wake("over")
        s.analysis = ("gone",)

    def _analysis_gone(self, s: State) -> None: ...

    # -- who commands ---------------------------------------------------------------------------------------

    def _controller(self, s: State, number: int) -> None:
        at, word, *rest = s.controllers[number]
        script = self._scripts[number]
        if at == "next" and word == len(script):
            return
        name, argument = script[word]
        step = name if at == "next" else at
        after = getattr(self, f"_command_{step}")(s, number, word, argument, *rest)
        if after is not None:
            places = list(s.controllers)
            places[number] = after
            s.controllers = tuple(places)

    def _command_pause(self, s: State, number: int, word: int, _: int) -> Any:
        if not s.allows(Command.PAUSE):
            return "next", word + 1
        if not s.closed:
            s.hold_for_user()
        return "pausing", word

    def _may_answer(self, s: State, arrived: bool) -> bool:
        """As `Gate._await`: a run that was told to end doesn't arrive any more, and answers when it has ended."""
        over = s.closed if "answers early" in self._faults else s.ended
        if over and s.life is not STOPPED:
            raise BrokenError("a command answers before the run has ended")
        return over or (arrived and not s.closed)

    def _command_pausing(self, s: State, number: int, word: int, _: int) -> Any:
        if not self._may_answer(s, s.life is PAUSED or not s.user):
            return s.sleep(number, "gate")  # type: ignore[arg-type, func-returns-value]
        rests = not s.busy and s.published == s.delivered and s.analysis[0] not in {"deliver", "call"}
        if s.life is PAUSED and not s.closed and len(self._scripts) == 1 and not rests:
            raise BrokenError("pause returned, and the run isn't at rest")
        return "next", word + 1

    def _command_resume(self, s: State, number: int, word: int, _: int) -> Any:
        if not s.closed and s.life is not STOPPED and (s.allows(Command.RESUME) or s.user):
            if s.allows(Command.RESUME):
                s.apply(Command.RESUME)
            s.go(None)
        return "next", word + 1

    def _command_step(self, s: State, number: int, word: int, instants: int) -> Any:
        return self._set_out(s, number, word, Command.STEP, Trip(s.cursor + instants, stepping=True))

    def _command_until(self, s: State, number: int, word: int, target: int) -> Any:
        return self._set_out(s, number, word, Command.RUN_UNTIL, Trip(target))

    def _set_out(self, s: State, number: int, word: int, command: Command, trip: Trip) -> Any:
        if not s.allows(command):
            return "next", word + 1
        mine = self._trips[number, word]
        if not s.closed:
            s.change_trip(mine, **trip._asdict())
            s.set_out(command, mine)
        return "travelling", word, mine

    def _command_travelling(self, s: State, number: int, word: int, _: int, mine: int) -> Any:
        trip = s.trips[mine]
        if not self._may_answer(s, trip.over):
            return s.sleep(number, "gate")  # type: ignore[arg-type, func-returns-value]
        if len(self._scripts) == 1 and trip.reached and not s.closed and s.delivered > trip.target:
            raise BrokenError(f"went to {s.delivered} instead of {trip.target}")
        return "next", word + 1

    def _command_speed(self, s: State, number: int, word: int, speed: int) -> Any:
        return self._repace(s, number, ("set_speed", word))

    def _command_set_speed(self, s: State, number: int, word: int, speed: int) -> Any:
        s.speed = speed
        return "replan", word, None

    def _command_replan(self, s: State, number: int, word: int, _: int, held_at: int | None) -> Any:
        if held_at is not None and s.delivered != held_at:
            raise BrokenError("it moved while it was held")
        s.replan()
        s.repacing = None
        s.wake("repacing")
        return ("next", word + 1) if held_at is None else ("release", word)

    def _repace(self, s: State, number: int, then: Any) -> Any:
        """Take the coordinator's lock for a change of its plan."""
        if s.repacing is not None:
            return s.sleep(number, "repacing")  # type: ignore[arg-type, func-returns-value]
        s.repacing = number
        return then

    def _command_add(self, s: State, number: int, word: int, _: int) -> Any:
        if not s.allows(Command.ADD):
            return "next", word + 1
        s.hold(user=False)
        return "holding", word

    def _command_holding(self, s: State, number: int, word: int, _: int) -> Any:
        if not self._may_answer(s, not s.busy):
            return s.sleep(number, "gate")  # type: ignore[arg-type, func-returns-value]
        return ("release", word) if s.closed else ("held", word, s.delivered)

    def _command_held(self, s: State, number: int, word: int, _: int, held_at: int) -> Any:
        if s.delivered != held_at or (s.published != held_at and not s.closed):
            raise BrokenError("it moved while it was held, or what is published is old")
        return self._repace(s, number, ("replan", word, held_at))

    def _command_release(self, s: State, number: int, word: int, _: int) -> Any:
        s.release()
        return "next", word + 1

    def _command_stop(self, s: State, number: int, word: int, _: int) -> Any:
        if s.holds_already(Command.STOP):
            return "next", word + 1
        s.end()
        return "close_up", word

    def _command_close_up(self, s: State, number: int, word: int, _: int) -> Any:
        s.up_closed = True
        s.wake("up")
        return "close_down", word

    def _command_close_down(self, s: State, number: int, word: int, _: int) -> Any:
        s.down_closed = True
        s.wake("down")
        return "ending", word

    def _command_ending(self, s: State, number: int, word: int, _: int) -> Any:
        return ("next", word + 1) if s.done else s.sleep(number, "over")  # type: ignore[arg-type, func-returns-value]


_ASLEEP = FIELDS.index("asleep")
_TRIPS = frozenset({"step", "until"})
