"""An explicit model of a run: the three stages, the engine's own `GateState`, two subscriptions and controllers, in all interleavings.

Every section under a lock is one step, and so is every read or write of a shared field without one. Who waits goes on
when it is notified, and so lost notifications are seen. A deadline may pass at any time, and what was published may be
fresh or stale. `Model.search` goes through all states that can be reached.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from nbbacktest.core.enums import SystemState
from nbbacktest.core.errors import InvalidTransition
from nbbacktest.core.lifecycle import HOLDS, Command, Lifecycle
from nbbacktest.engine.gate_state import UNLIMITED, Decision, GateState, MoveRequest
from tests.interleavings.model_state import FIELDS, NOW, BrokenError, Plan, State, frozen_gate

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
        places = [(who, at) for who, one in enumerate(scripts) for at, word in enumerate(one) if word[0] in _MOVES]
        self._moves = {place: number for number, place in enumerate(places)}
        life = Lifecycle()
        life.apply(Command.START)
        gate = GateState(life)
        gate.paced = speed > 0
        if paused:
            gate.hold_for_user(NOW)
        moves = [MoveRequest(stepping=scripts[who][at][0] == "step") for who, at in places]
        start: dict[str, Any] = dict.fromkeys(FIELDS, 0) | {
            "gate": frozen_gate(gate, moves), "speed": speed, "repacing": None, "up_ready": False,
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
            except (BrokenError, InvalidTransition) as error:
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
        if state.life is PAUSED and (state.gate.closed or state.published != state.delivered):
            raise BrokenError("it is paused, and what is published is old")
        is_cut = self._raises_at is not None or any(word[0] == "stop" for one in self._scripts for word in one)
        if state.life is STOPPED and not is_cut and state.delivered != self._instants:
            raise BrokenError(f"it ended after {state.delivered} instants")

    # -- the coordinator ------------------------------------------------------------------------------------

    def _coordinator(self, s: State, at: str, *rest: Any) -> None:
        getattr(self, f"_coordinator_{at}")(s, *rest)

    def _coordinator_start(self, s: State) -> None:
        if s.gate.closed or s.gate.started:
            s.coordinator = ("loop",)  # whether it is closed is read anew, as it is there
        else:
            s.sleep("coordinator", "gate")

    def _coordinator_loop(self, s: State) -> None:
        s.coordinator = ("close",) if s.gate.closed else ("speed",)

    def _coordinator_speed(self, s: State) -> None:
        s.coordinator = ("open",) if s.speed else ("reset",)

    def _coordinator_open(self, s: State) -> None:
        if s.gate.closed or not s.gate.holders:
            s.coordinator = ("opened",)
        else:
            s.sleep("coordinator", "gate")

    def _coordinator_opened(self, s: State) -> None:
        s.coordinator = ("close",) if s.gate.closed else ("reset",)

    def _coordinator_reset(self, s: State) -> None:
        if s.up_ready and not s.up_closed and "plans at once" not in self._faults:
            s.sleep("coordinator", "up")
        else:
            s.coordinator = ("was_reset",)

    def _coordinator_was_reset(self, s: State) -> None:
        s.coordinator = ("close",) if s.up_closed else ("standing",)

    def _coordinator_standing(self, s: State) -> None:
        """As `RunGate.standing`."""
        steps = s.gate.move is not None and s.gate.move.stepping
        s.coordinator = ("next_window", s.gate.generation, s.gate.cursor, steps)

    def _coordinator_next_window(self, s: State, generation: int, start: int, steps: bool) -> None:
        """As `Planner.next_window`, with the speed as it is then."""
        if start >= self._instants:
            s.coordinator = ("end",)
        elif s.speed and not steps:
            s.coordinator = ("plan", generation, start)
        else:
            s.coordinator = ("window", generation, start, 1 if s.speed else self._window)

    def _coordinator_end(self, s: State) -> None:
        """As `RunGate.may_end`, once round its loop."""
        if s.gate.closed:
            s.coordinator = ("loop",)
        elif s.gate.holders:
            s.sleep("coordinator", "gate")
        else:
            s.coordinator = ("finish",)

    def _coordinator_finish(self, s: State) -> None:
        s.coordinator = ("loop",) if s.gate.closed else ("close",) if s.gate.finish() else ("end",)
        s.tell()

    def _coordinator_window(self, s: State, generation: int, start: int, length: int) -> None:
        s.plan = Plan(s.plan.serial + 1, start, min(start + length, self._instants), generation)
        s.signal_up()
        s.coordinator = ("loop",)

    def _coordinator_plan(self, s: State, generation: int, start: int) -> None:
        s.plan = Plan(s.plan.serial + 1, start, start, generation, paced=True)
        s.coordinator = ("sleep", generation, start)

    def _coordinator_sleep(self, s: State, generation: int, instant: int, is_due: bool = False) -> None:
        s.asleep = frozenset(one for one in s.asleep if one[0] != "coordinator")
        if instant >= self._instants or s.gate.closed or s.gate.holders or generation != s.gate.generation:
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
        s.gate.close(Command.FAIL if failed else Command.STOP if s.gate.closed else Command.FINISH)
        s.tell()
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
        s.processor = ("take", s.gate.generation)

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
        s.gate.start(NOW)
        s.tell()
        s.analysis = ("ready",)

    def _analysis_ready(self, s: State) -> None:
        if s.down_closed or s.down_ready:
            s.analysis = ("finish",) if s.down_closed else ("read",)
        else:
            s.sleep("analysis", "down")

    def _analysis_read(self, s: State) -> None:
        s.analysis = ("boundary", s.batch, s.batch[0], False)

    def _analysis_boundary(self, s: State, batch: Any, cursor: int, leaving: bool) -> list[State]:
        after = []
        for fresh in (True, False) if s.published != cursor else (True,):
            one = State(s.frozen())
            one.analysis = {
                Decision.PUBLISH: ("publish", batch, cursor, leaving), Decision.GO: ("deliver", batch, cursor),
                Decision.LEAVE: ("reset",), Decision.CLOSED: ("reset",), Decision.REST: one.analysis,
            }[self._at_boundary(one, cursor, batch[2], leaving=leaving, fresh=fresh)]  # fmt: skip
            after.append(one)
        return after

    def _at_boundary(self, s: State, cursor: int, generation: int, *, leaving: bool, fresh: bool) -> Decision:
        """As `RunGate.at_boundary`, once round its loop."""
        decision = s.gate.boundary(cursor, generation, s.published, self._turn, NOW, fresh=fresh, leaving=leaving)
        s.tell()
        if decision is Decision.REST:
            s.sleep("analysis", "gate")
        return decision

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
        if s.life is not RUNNING or not s.gate.busy:
            raise BrokenError(f"a callback while it is {s.life}, {'busy' if s.gate.busy else 'at rest'}")

    def _analysis_call(self, s: State, batch: Any, cursor: int) -> None:
        self._check_call(s)
        s.analysis = ("fail" if self._raises_at == cursor - 1 else "limit", batch, cursor)

    def _analysis_fail(self, s: State, batch: Any, cursor: int) -> None:
        if self._on_error == "pause":
            s.gate.hold_for_user(NOW)
            s.analysis = ("limit", batch, cursor)
        else:
            s.gate.close()
            s.analysis = ("reset",)
        s.tell()

    def _analysis_limit(self, s: State, batch: Any, cursor: int) -> None:
        if cursor >= batch[1]:
            s.analysis = ("boundary", batch, cursor, True)
        else:
            s.analysis = ("boundary", batch, cursor, False) if cursor >= s.gate.limit else ("deliver", batch, cursor)

    def _analysis_reset(self, s: State) -> None:
        if s.down_ready:
            s.down_ready = False
            s.wake("down")
        s.analysis = ("ready",)

    def _analysis_finish(self, s: State) -> None:
        s.gate.finishing = True
        s.published = s.delivered
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

    @staticmethod
    def _allows(s: State, command: Command) -> bool:
        """Whether the command would change something; one that makes no sense is refused, and the next one given."""
        try:
            return s.gate.life.allows(command)
        except InvalidTransition:
            return False

    def _waited(self, s: State, number: int, answer: bool | None) -> bool:
        """Whether a command has its answer; else it sleeps."""
        if answer is None:
            s.sleep(number, "gate")
            return False
        if s.gate.closed and s.life is not STOPPED:
            raise BrokenError("a command answers before the run has ended")
        return True

    def _command_pause(self, s: State, number: int, word: int, _: int) -> Any:
        if not (self._allows(s, Command.PAUSE) and s.gate.pause(NOW)):
            return "next", word + 1
        s.tell()
        return "pausing", word

    def _command_pausing(self, s: State, number: int, word: int, _: int) -> Any:
        answer = s.gate.pause_answer()
        if not self._waited(s, number, answer):
            return None
        rests = not s.gate.busy and s.published == s.delivered and s.analysis[0] not in {"deliver", "call"}
        if answer and len(self._scripts) == 1 and not rests:
            raise BrokenError("pause returned, and the run isn't at rest")
        return "next", word + 1

    def _command_resume(self, s: State, number: int, word: int, _: int) -> Any:
        if s.life is not STOPPED:
            s.gate.resume(NOW)
            s.tell()
        return "next", word + 1

    def _command_step(self, s: State, number: int, word: int, instants: int) -> Any:
        return self._set_out(s, number, word, Command.STEP, s.gate.cursor + instants)

    def _command_until(self, s: State, number: int, word: int, target: int) -> Any:
        return self._set_out(s, number, word, Command.RUN_UNTIL, target)

    def _set_out(self, s: State, number: int, word: int, command: Command, target: int) -> Any:
        if not self._allows(s, command):
            return "next", word + 1
        mine = self._moves[number, word]
        s.gate.set_out(command, s.moves[mine], target, NOW)
        s.tell()
        return "moving", word, mine

    def _command_moving(self, s: State, number: int, word: int, _: int, mine: int) -> Any:
        move = s.moves[mine]
        answer = s.gate.move_answer(move)
        if not self._waited(s, number, answer):
            return None
        if len(self._scripts) == 1 and answer and move.target is not None and s.delivered > move.target:
            raise BrokenError(f"went to {s.delivered} instead of {move.target}")
        return "next", word + 1

    def _command_ask(self, s: State, number: int, word: int, _: int) -> Any:
        was_closed, asked = s.gate.closed, s.gate.ask()
        s.tell()
        if was_closed and asked is not None and s.gate.is_answered(asked) and s.life is not STOPPED:
            raise BrokenError("what is asked for is answered before the last publication")
        if not asked:  # before the start, or at rest
            return "next", word + 1
        return "asking", word, asked, s.delivered

    def _command_asking(self, s: State, number: int, word: int, _: int, asked: int, delivered: int) -> Any:
        if not s.gate.is_answered(asked):
            return s.sleep(number, "gate")  # type: ignore[func-returns-value]
        if s.published < delivered:
            raise BrokenError("what was asked for isn't published")
        return "next", word + 1

    def _command_speed(self, s: State, number: int, word: int, speed: int) -> Any:
        return self._repace(s, number, ("set_speed", word))

    def _command_set_speed(self, s: State, number: int, word: int, speed: int) -> Any:
        s.speed = speed
        return "replan", word, None

    def _command_replan(self, s: State, number: int, word: int, _: int, held_at: int | None) -> Any:
        if held_at is not None and s.delivered != held_at:
            raise BrokenError("it moved while it was held")
        s.gate.replan(NOW, paced=s.speed > 0)
        s.tell()
        s.repacing = None
        s.wake("repacing")
        return ("next", word + 1) if held_at is None else ("release", word)

    def _repace(self, s: State, number: int, then: Any) -> Any:
        """Take the coordinator's lock for a change of its plan."""
        if s.repacing is not None:
            return s.sleep(number, "repacing")  # type: ignore[func-returns-value]
        s.repacing = number
        return then

    def _command_add(self, s: State, number: int, word: int, _: int) -> Any:
        if not self._allows(s, Command.ADD):
            return "next", word + 1
        s.gate.hold(f"controller {number}", NOW)
        s.tell()
        return "holding", word

    def _command_holding(self, s: State, number: int, word: int, _: int) -> Any:
        answer = s.gate.hold_answer()
        if not self._waited(s, number, answer):
            return None
        return ("held", word, s.delivered) if answer else ("release", word)

    def _command_held(self, s: State, number: int, word: int, _: int, held_at: int) -> Any:
        if s.delivered != held_at or (s.published != held_at and not s.gate.closed):
            raise BrokenError("it moved while it was held, or what is published is old")
        return self._repace(s, number, ("replan", word, held_at))

    def _command_release(self, s: State, number: int, word: int, _: int) -> Any:
        s.gate.release(f"controller {number}", NOW)
        s.tell()
        return "next", word + 1

    def _command_stop(self, s: State, number: int, word: int, _: int) -> Any:
        if (s.life, Command.STOP) in HOLDS:
            return "next", word + 1
        s.gate.close()
        s.tell()
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
        return ("next", word + 1) if s.done else s.sleep(number, "over")  # type: ignore[func-returns-value]


_ASLEEP = FIELDS.index("asleep")
_MOVES = frozenset({"step", "until"})
