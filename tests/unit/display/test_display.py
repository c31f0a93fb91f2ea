"""The display without a terminal of its own: readings, the page at every width, lines and events."""

from __future__ import annotations

import io
import json
import os
import sys

import pytest
from rich.console import Console

import nbbacktest as nb
from nbbacktest.core.config import EXAMPLE
from nbbacktest.display.foreground_run import end_event, follow_in_events, follow_in_lines
from nbbacktest.display.run_page import RunMeter, RunPage
from nbbacktest.display.terminal_input import Interrupts, Keyboard


@pytest.fixture
def system():
    """The example, stopped at its second session, with fills behind it."""
    system = nb.SystemManager()
    system.start(EXAMPLE, paused=True)
    system.run_until("2024-10-04 11:00")
    yield system
    system.stop()


def drawn(page, width, height=30, encoding="utf-8"):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    Console(file=file, width=width, height=height, force_terminal=False, highlight=False).print(page)
    return file.buffer.getvalue().decode(encoding).splitlines()


def test_a_reading_is_one_instant_of_the_run(system):
    """Its numbers are the snapshot's and the status's."""
    reading, shot = RunMeter(system, 100_000).read(), system.snapshot()
    assert (reading.time, reading.cursor, reading.equity) == (shot.time, shot.cursor, shot.equity)
    assert (reading.state, reading.asked, reading.bars) == (nb.SystemState.PAUSED, 0, 2 * shot.cursor)
    assert reading.gain == shot.equity / 100_000 - 1
    assert reading.n_fills == shot.n_fills > len(reading.fills) == 5
    assert reading.seconds_left is None
    assert reading.curve == ((0.0, 100_000), (shot.progress, shot.equity))


def test_a_run_at_rest_adds_no_point(system):
    """Equity's line has a point for each place of the run that was seen, not for each look at it."""
    meter = RunMeter(system, 100_000)
    for _ in range(3):
        reading = meter.read()
    assert len(reading.curve) == 2
    system.step()
    assert len(meter.read().curve) == 3


def test_a_long_line_is_thinned_out(system, monkeypatch):
    """However long it is looked at, the line stays short, rises in time and begins at the start."""
    monkeypatch.setattr("nbbacktest.display.run_page._POINTS", 10)
    meter = RunMeter(system, 100_000)
    for _ in range(100):
        system.step()
        curve = meter.read().curve
    assert len(curve) <= 11
    assert curve[0] == (0.0, 100_000)
    assert [mark for mark, _ in curve] == sorted(mark for mark, _ in curve)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 119, 120, 160, 240])
def test_the_page_fits_every_width(system, width):
    """No line is wider than the terminal, none of a box is broken, and all that matters is there."""
    page = RunPage(RunMeter(system, 100_000).read(), (("r", "resume"),), "System paused")
    lines = drawn(page, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for word in ("PAUSED", "Equity", "Speed asked", "Overruns", "Positions", "Fills", "System paused", "resume"):
        assert word in text
    if width >= 80:
        for word in ("2024-10-04 11:00:00", "synthetic", "instants", "at rest", f"{system.snapshot().equity:,.2f}"):
            assert word in text
    corners = [sum(line.count(corner) for line in lines) for corner in "╭╮╰╯"]
    assert corners == [4, 4, 4, 4]


@pytest.mark.parametrize(("width", "height", "most"), [(80, 24, 23), (160, 40, 20)])
def test_the_page_fits_the_height(system, width, height, most):
    """A usual terminal shows it whole, with a line to spare."""
    assert len(drawn(RunPage(RunMeter(system, 100_000).read()), width, height)) <= most


def test_the_page_keeps_its_height(system):
    """Before the first bar, flat, with fills, at an error: nothing jumps."""
    fresh = nb.SystemManager()
    fresh.start(EXAMPLE, paused=True)
    heights = {len(drawn(RunPage(RunMeter(each, 100_000).read()), 80)) for each in (system, fresh)}
    fresh.stop()
    assert len(heights) == 1


def test_a_terminal_without_blocks_gets_no_chart(system):
    """Where the encoding has no block characters, none are written."""
    text = "\n".join(drawn(RunPage(RunMeter(system, 100_000).read()), 80, encoding="cp1252"))
    assert "█" not in text
    assert "PAUSED" in text


def test_an_error_is_on_the_page():
    """Held at a strategy's error, the page shows its line."""

    class Broken(nb.Strategy):
        def on_bar(self, bar):
            raise ValueError("by order")

    system = nb.SystemManager()
    system.start(EXAMPLE | {"on_error": "pause"}, strategies=Broken)
    while not system.is_paused():
        pass
    text = "\n".join(drawn(RunPage(RunMeter(system, 100_000).read()), 160))
    system.stop()
    assert "Broken.on_bar raised" in text


def test_bars_a_second_stand_while_the_run_rests(system, monkeypatch):
    """The page of a run that rests doesn't count on: neither its seconds nor, the other way, its bars a second."""
    now = [10.0]
    monkeypatch.setattr(type(system.run), "duration", property(lambda _run: now[0]))
    meter = RunMeter(system, 100_000)
    first = meter.read()
    now[0] = 500.0
    second = meter.read()
    assert (first.seconds, first.bars_per_second) == (second.seconds, second.bars_per_second)
    assert first.bars_per_second == first.bars / 10


def test_lines_tell_of_every_change(system, monkeypatch):
    """Without a terminal: a line at every change of state and now and then, until the end."""
    monkeypatch.setattr("nbbacktest.display.foreground_run.LINE_SECONDS", 0.0)
    system.set_speed(36_000)
    system.resume()
    out = io.StringIO()
    assert follow_in_lines(system, 100_000, out) is False
    lines = out.getvalue().splitlines()
    assert lines
    assert all(line.startswith("running  2024-10-") and "equity" in line and "36,000x asked" in line for line in lines)


def test_events_are_json_lines(system, monkeypatch):
    """Each line is an object that names its event; the last one has the statistics and the status."""
    monkeypatch.setattr("nbbacktest.display.foreground_run.EVENT_SECONDS", 0.0)
    system.set_speed(36_000)
    system.resume()
    out = io.StringIO()
    assert follow_in_events(system, 100_000, out) is False
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert {event["event"] for event in events} <= {"state", "progress"}
    progress = [event["progress"] for event in events]
    assert progress == sorted(progress)
    assert events[-1]["sim_time"].endswith("-04:00")
    result = system.wait()
    end = json.loads(end_event(result, system.status()))
    assert (end["event"], end["fingerprint"]) == ("end", result.fingerprint)
    assert end["stats"]["bars"] == 4680
    assert end["status"]["system_manager"]["_state"] == "stopped"


posix = pytest.mark.skipif(sys.platform == "win32", reason="pseudo terminals are of POSIX")


@posix
def test_keys_are_read_one_by_one_and_the_terminal_is_left_as_it_was():
    """A key is there without Enter, an arrow is one key, and afterwards the terminal is as before."""
    import termios

    master, slave = os.openpty()
    try:
        before = termios.tcgetattr(slave)
        with os.fdopen(slave, "r", closefd=False) as stream, Keyboard(stream) as keyboard:
            assert keyboard.present
            assert keyboard.read(0) is None
            os.write(master, b"p")
            assert keyboard.read(5) == "p"
            os.write(master, b"\x1b[C")
            assert keyboard.read(5) == "\x1b[C"
            assert termios.tcgetattr(slave)[3] != before[3]
        assert termios.tcgetattr(slave) == before
    finally:
        os.close(master)
        os.close(slave)


def test_without_a_terminal_there_are_no_keys():
    """Input from a file is nobody's fingers."""
    with Keyboard(io.StringIO("pppp")) as keyboard:
        assert not keyboard.present
        assert keyboard.read(0) is None


def test_an_interrupt_is_counted_unless_somebody_waits():
    """Ctrl-C is asked for; during a wait it raises; afterwards everything is as before."""
    import signal

    before = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        assert not interrupts.taken()
        signal.raise_signal(signal.SIGINT)
        assert interrupts.taken()
        assert not interrupts.taken()
        with pytest.raises(KeyboardInterrupt):
            interrupts.waiting(lambda: signal.raise_signal(signal.SIGINT))
        if sys.platform != "win32":
            with pytest.raises(SystemExit) as caught:
                signal.raise_signal(signal.SIGTERM)
            assert caught.value.code == 143
    assert signal.getsignal(signal.SIGINT) is before
