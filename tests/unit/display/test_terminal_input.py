"""Signals while something must not be lost, and those that end a session."""

from __future__ import annotations

import signal
import sys
import threading

import pytest

from nbbacktest.display.terminal_input import Leaving, leaving_in_order, uninterrupted

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="these signals are of POSIX")

ENDS = [signal.SIGTERM, signal.SIGHUP] if sys.platform != "win32" else []


@pytest.fixture(autouse=True)
def handlers_are_back():
    """Every test leaves the handlers that it found, and Ctrl-C raises meanwhile, wherever the suite is run."""
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDS)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before = {number: signal.getsignal(number) for number in found}
    yield
    assert {number: signal.getsignal(number) for number in found} == before
    signal.signal(signal.SIGINT, found[signal.SIGINT])


@pytest.mark.parametrize("number", ENDS)
def test_an_end_is_an_exit_with_its_number(number: signal.Signals):
    """Status 128 and the signal's number, and its name to be told."""
    with pytest.raises(Leaving) as raised, leaving_in_order():
        signal.raise_signal(number)
    assert raised.value.code == 128 + number
    assert raised.value.reason == f"ended by {number.name}: this is what was run until then"


def test_a_signal_that_is_ignored_stays_so():
    """As `nohup` asks for."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with leaving_in_order(), uninterrupted():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), *[(number, Leaving) for number in ENDS]]
)
def test_what_must_not_be_lost_is_done_first(number: signal.Signals, error: type[BaseException]):
    """The signal comes when it is over, and once."""
    done = []

    def interrupted():
        with leaving_in_order(), uninterrupted():
            signal.raise_signal(number)
            signal.raise_signal(number)
            done.append(number)

    with pytest.raises(error):
        interrupted()
    assert done == [number]


def test_other_threads_leave_signals_alone():
    """Python lets the main thread alone handle them."""
    seen = []

    def work():
        with leaving_in_order(), uninterrupted():
            seen.append([signal.getsignal(number) for number in ENDS])

    before = [signal.getsignal(number) for number in ENDS]
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
