"""What users' strategies do outside of a run, taken back again and again: nothing hangs, and nothing is silently wrong."""

from __future__ import annotations

import os
import random
import socket
import sqlite3
import threading
import time
from contextlib import suppress

import pytest

import nbbacktest as nb
from tests.erratic import parts
from tests.markets import minutes

ALWAYS = {"exchange": "24/7"}
SECONDS = float(os.environ.get("NBBACKTEST_SOAK", "1"))
"""How long each strategy is taken to and fro; minutes, for a soak."""


class Trades(nb.Strategy):
    """Buys and sells by the bars alone, and does something outside of the run at each bar."""

    place: object = None

    def on_bar(self, bar):
        self.reach_out(bar)
        if len(self.bars()) % 7 == 0:
            self.close() if self.position() else self.buy(size=3)


class Prints(Trades):
    def reach_out(self, bar):
        print(bar.close)


class Writes(Trades):
    def reach_out(self, bar):
        with (self.place / "bars.txt").open("a") as file:
            file.write(f"{bar.time} {bar.close}\n")


class Keeps(Trades):
    """A connection that is bound to the thread which opened it."""

    def on_start(self):
        self.base = sqlite3.connect(self.place / "bars.db", timeout=1)
        self.base.execute("create table if not exists bars (time text, close real)")

    def reach_out(self, bar):
        self.base.execute("insert into bars values (?, ?)", (str(bar.time), bar.close))
        self.base.commit()

    def on_stop(self):
        self.base.close()


class Sends(Trades):
    """Asks a server, as a call of a web service does."""

    def reach_out(self, bar):
        with socket.create_connection(self.place, timeout=5) as line:
            line.sendall(f"{bar.close}\n".encode())
            assert line.recv(16) == b"ok\n"


class Draws(Trades):
    """Makes a figure of the bars so far."""

    def reach_out(self, bar):
        import plotly.graph_objects as go

        if len(self.bars()) % 50 == 0:
            figure = go.Figure(go.Scatter(y=list(self.bars().close)))
            (self.place / "figure.json").write_text(figure.to_json())


class Asks(Trades):
    """Decides by what a server answered: it doesn't repeat itself."""

    def on_bar(self, bar):
        with socket.create_connection(self.place, timeout=5) as line:
            line.sendall(b"?\n")
            answer = line.recv(16)
        if self.place and int.from_bytes(os.urandom(1), "big") < 64 and answer:
            self.buy(size=1)


@pytest.fixture
def server():
    """Answers each line with "ok"."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                line, _ = listening.accept()
            except OSError:
                return
            with line, suppress(OSError):
                line.recv(64)
                line.sendall(b"ok\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(5)


def wander(system, dice, seconds):
    """To and fro for so long; each place is the same each time."""
    seen, moves, deadline = {}, 0, time.monotonic() + seconds
    while moves < 5 or time.monotonic() < deadline:
        shot = system.snapshot()
        assert seen.setdefault(shot.cursor, parts(shot)) == parts(shot)
        if dice.random() < 0.6 and shot.cursor < 190:
            assert system.step(dice.randint(1, min(40, 200 - shot.cursor)))
        elif shot.cursor:
            assert system.back(dice.randint(1, shot.cursor))
        moves += 1


@pytest.mark.parametrize("kind", [Prints, Writes, Keeps, Draws, Sends])
@pytest.mark.parametrize("threads", ["on", "off"])
def test_effects_are_repeated_and_the_run_is_the_same(kind, threads, tmp_path, server, monkeypatch, capsys):
    if threads == "off":
        monkeypatch.setenv("NBBACKTEST_THREADS", "off")
    place = server if kind is Sends else tmp_path
    expected = nb.backtest(minutes(200), kind, config=ALWAYS, place=place).fingerprint
    system = nb.SystemManager(reachable=False)
    system.start(ALWAYS, data=minutes(200), strategies=kind, place=place, paused=True)
    try:
        wander(system, random.Random(1), SECONDS)
        system.resume()
        assert system.wait(30).fingerprint == expected
        if kind is Keeps:
            with sqlite3.connect(tmp_path / "bars.db") as base:
                assert base.execute("pragma integrity_check").fetchone() == ("ok",)
                assert base.execute("select count(*) from bars").fetchone()[0] > 400
            base.close()
    finally:
        if not system.is_stopped():
            system.stop()
        capsys.readouterr()


@pytest.mark.parametrize("threads", ["on", "off"])
def test_a_strategy_that_asks_the_outside_is_told(threads, server, monkeypatch):
    if threads == "off":
        monkeypatch.setenv("NBBACKTEST_THREADS", "off")
    system = nb.SystemManager(reachable=False)
    system.start(ALWAYS, data=minutes(200), strategies=Asks, place=server, paused=True)
    try:
        assert system.step(150)
        before = parts(system.snapshot())
        for _ in range(3):
            with pytest.raises(nb.ReplayError, match="doesn't repeat itself"):
                system.back(10)
            assert parts(system.snapshot()) == before
        assert system.step(5)
    finally:
        system.stop()
