"""Sweeps: the same numbers as a backtest's, whoever runs the points, and nothing left when they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import monotonic, perf_counter, sleep

import pandas as pd
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.report.analysis import fingerprint
from nbbacktest.strategies import SmaCross
from nbbacktest.system.backtest import settings_of
from nbbacktest.system.sweep import pool
from nbbacktest.system.sweep import worker as worker_module
from nbbacktest.system.sweep.worker import SweepWorker
from nbbacktest.trading.equity import equity_curve
from tests.markets import minutes

BARS = minutes(300)
GRID = {"fast": [3, 5], "slow": [8, 13, 21]}


class Warm(SmaCross):
    """Needs as much warm-up as its parameter says, and reads derived bars."""

    warmup_bars: int = 0
    day_only: bool = False

    def on_bar(self, bar: nb.Bar) -> None:
        if not self.day_only:
            super().on_bar(bar)
        elif bar.interval == "5m" and not self.position().size:
            self.buy(size=3, limit=bar.low, tif="day", tag=str(len(self.bars(interval="5m"))))


class Fragile(nb.Strategy):
    """Fails at one point, and another ends its whole process."""

    kind: int = 0

    def on_bar(self, bar: nb.Bar) -> None:
        if self.kind == 1:
            raise ValueError("no good")
        if self.kind == 2:
            os._exit(3)
        if not self.position().size:
            self.buy(size=1)


@pytest.fixture(scope="module")
def expected() -> pd.DataFrame:
    """The frame of a sweep by threads."""
    with ThreadPoolExecutor(2) as threads:
        return nb.sweep(BARS, SmaCross, GRID, executor=threads).frame


def test_rows_are_the_stats_of_a_backtest(expected: pd.DataFrame) -> None:
    """Each row has its point's parameters and exactly the statistics that a backtest of them gives."""
    assert list(expected)[:2] == ["fast", "slow"]
    assert expected["error"].isna().all()
    for row in expected.to_dict("records"):
        stats = nb.backtest(BARS, SmaCross, fast=row["fast"], slow=row["slow"]).stats
        assert stats.keys() < row.keys()
        assert all(row[name] == value or (pd.isna(row[name]) and pd.isna(value)) for name, value in stats.items())


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(2, 20), st.integers(2, 40), st.sampled_from([0, 7, 60]), st.booleans(),
    st.sampled_from([0.0, 0.002]), st.sampled_from(["next_open", "next_close", "this_close"]),
)  # fmt: skip
def test_a_point_has_the_fingerprint_of_a_backtest(fast, slow, warmup, day_only, commission, fill) -> None:
    """Whatever the parameters, derived bars and warm-up included, a point trades as a backtest does, each time it is run."""
    config = {"data": {"derived_intervals": ["5m"]}, "backtest": {"start_date": "2024-10-04"}, "exchange": "XNYS"}
    bars = pd.concat([minutes(120), minutes(120, seed=2, start="2024-10-04 09:30")])
    point = {"fast": fast, "slow": slow, "warmup_bars": warmup, "day_only": day_only}
    other = {**point, "warmup_bars": 13}
    whole = settings_of(config, 100_000.0, commission, 0.0, fill, ())
    worker = SweepWorker(whole, bars, Warm, {})
    worker.prepare(bars, [other, point])
    copied = worker_module.unpacked(worker_module.packed(worker))
    result = nb.backtest(bars, Warm, commission=commission, fill=fill, config=config, **point)
    for one in (worker, copied, copied):
        one.run(other)
        record = one.record(point)
        assert fingerprint(record, equity_curve(record)) == result.fingerprint


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sweep does doesn't depend on the machine."""
    monkeypatch.setattr(pool, "_cores", lambda: 2)


@pytest.fixture
def along(two_cores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that is worth a process, and short enough for the caller to play along."""
    monkeypatch.setattr(pool, "START_SECONDS", 0.0)
    monkeypatch.setattr(pool, "ALONG_SECONDS", 1e9)


@pytest.fixture
def apart(two_cores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that is so long that the caller leaves it to processes."""
    monkeypatch.setattr(pool, "START_SECONDS", 0.0)
    monkeypatch.setattr(pool, "ALONG_SECONDS", 0.0)


def test_processes_calculate_with_one_thread_each_unless_the_user_says_otherwise(
    apart: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a process for each core; a number of threads that is set already stays."""
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")

    class Telling(SmaCross):
        def on_start(self) -> None:
            raise ValueError(f"{os.environ.get('OPENBLAS_NUM_THREADS')}, {os.environ['OMP_NUM_THREADS']}")

    # The first point is the caller's own.
    own, *theirs = nb.sweep(BARS, Telling, GRID).frame["error"]
    assert "ValueError: None, 3" in own
    assert all("ValueError: 1, 3" in error for error in theirs)
    assert "OPENBLAS_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("way", ["two_cores", "along", "apart"])
def test_by_default(way: str, expected: pd.DataFrame, request: pytest.FixtureRequest) -> None:
    """The caller, both, or processes run the points, also of a class that no module holds; no process is left."""
    request.getfixturevalue(way)

    class Local(SmaCross):
        pass

    found = nb.sweep(BARS, Local, GRID)
    pd.testing.assert_frame_equal(found.frame, expected)


class Traced(nb.Strategy):
    """Leaves its process's number in a folder."""

    folder: str = ""
    number: int = 0

    def on_start(self) -> None:
        Path(self.folder, f"{self.number}-{os.getpid()}").touch()


def players(folder: Path) -> list[int]:
    """By point, the process that ran it."""
    files = sorted(tuple(map(int, file.name.split("-"))) for file in folder.iterdir())
    assert [number for number, _ in files] == list(range(len(files)))
    return [process for _, process in files]


@pytest.mark.usefixtures("two_cores")
def test_little_work_starts_no_process(tmp_path: Path) -> None:
    """Points that take less together than a process's start are all run by the caller."""
    nb.sweep(BARS, Traced, {"number": range(8)}, folder=str(tmp_path))
    assert players(tmp_path) == [os.getpid()] * 8


@pytest.mark.usefixtures("along")
def test_the_caller_plays_along(tmp_path: Path) -> None:
    """While the processes start, and as long as points wait, it runs them too; each is run once."""
    nb.sweep(BARS, Traced, {"number": range(40)}, folder=str(tmp_path))
    found = players(tmp_path)
    assert len(found) == 40
    assert len(set(found)) == 2
    assert found.count(os.getpid()) > 1


@pytest.mark.usefixtures("apart")
def test_much_work_is_for_processes(tmp_path: Path) -> None:
    """The caller runs the first point alone."""
    nb.sweep(BARS, Traced, {"number": range(40)}, folder=str(tmp_path))
    found = players(tmp_path)
    assert [number for number, process in enumerate(found) if process == os.getpid()] == [0]


@pytest.mark.parametrize("way", ["along", "apart"])
def test_no_more_processes_than_points(
    way: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine of many cores starts as many as can have work."""
    request.getfixturevalue(way)
    monkeypatch.setattr(pool, "_cores", lambda: 64)
    asked, start = [], pool._processes
    monkeypatch.setattr(pool, "_processes", lambda count: asked.append(count) or start(count))
    nb.sweep(BARS, SmaCross, {"fast": [3, 5], "slow": [8]})
    assert asked == [1]


@pytest.mark.usefixtures("two_cores")
def test_points_that_turn_out_long_are_handed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points that fail at once don't keep the caller from starting processes for those that work."""
    monkeypatch.setattr(pool, "START_SECONDS", 0.02)

    class Late(Traced):
        def on_start(self) -> None:
            super().on_start()
            if self.number < 3:
                raise ValueError("at once")

        def on_bar(self, bar: nb.Bar) -> None:
            until = perf_counter() + 0.0005
            while perf_counter() < until:
                pass

    nb.sweep(BARS, Late, {"number": range(12)}, folder=str(tmp_path))
    assert len(set(players(tmp_path))) == 2


def test_standard_processes(expected: pd.DataFrame) -> None:
    """The standard library's executor works, with processes that begin afresh."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        pd.testing.assert_frame_equal(nb.sweep(BARS, SmaCross, GRID, executor=executor).frame, expected)


def test_dask(expected: pd.DataFrame, tmp_path: Path) -> None:
    """Dask's executor works as it is."""
    program = """
import sys, pandas as pd, nbbacktest as nb
from distributed import Client, LocalCluster
from tests.markets import minutes
class Cross(nb.strategies.SmaCross):
    pass
if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster, Client(cluster) as client:
        found = nb.sweep(minutes(300), Cross, {"fast": [3, 5], "slow": [8, 13, 21]}, executor=client.get_executor())
    found.frame.to_pickle(sys.argv[1])
"""
    program = program.replace("import sys,", "import nbbacktest.strategies, sys,")
    script = tmp_path / "cluster.py"
    script.write_text(program)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "frame")],
        env={**os.environ, "PYTHONPATH": str(root)}, cwd=tmp_path, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(pd.read_pickle(tmp_path / "frame"), expected)


class Elsewhere(ThreadPoolExecutor.__base__):
    """Runs each task as a machine would that neither holds the worker nor sees its file."""

    def submit(self, task, handle, points):
        kept, worker_module._held = worker_module._held, {}
        future = Future()
        try:
            future.set_result(task(handle._replace(path="nowhere"), points))
        finally:
            worker_module._held = kept
        return future


def test_other_machines_are_sent_the_bars(expected: pd.DataFrame) -> None:
    """A worker that doesn't see the file gets its content."""
    pd.testing.assert_frame_equal(nb.sweep(BARS, SmaCross, GRID, executor=Elsewhere()).frame, expected)


@pytest.mark.usefixtures("apart")
def test_a_failed_point_is_a_row() -> None:
    """A strategy that raises, and one that takes its process with it, cost one row each."""
    found = nb.sweep(BARS, Fragile, {"kind": [0, 1, 2, 3]})
    errors = found.frame["error"].tolist()
    assert errors[0] is None
    assert errors[3] is None
    assert "no good" in errors[1]
    assert "died" in errors[2]
    assert found.failed["kind"].tolist() == [1, 2]
    assert found.frame["trades"].isna().tolist() == [False, True, True, False]


def test_what_cannot_be_sent_is_refused() -> None:
    """A class that holds on to a lock is refused before any point is run; threads do it."""
    lock = threading.Lock()
    ran = []

    class Locked(nb.Strategy):
        length: int = 1

        def on_start(self) -> None:
            with lock:
                ran.append(self.length)

    with pytest.raises(nb.ConfigError, match=r"can't be sent to other processes.*ThreadPoolExecutor"):
        nb.sweep(BARS, Locked, {"length": [1, 2]})
    assert not ran
    with ThreadPoolExecutor(1) as threads:
        nb.sweep(BARS, Locked, {"length": [1, 2]}, executor=threads)
    assert sorted(ran) == [1, 2]


@pytest.mark.parametrize("way", ["two_cores", "along", "apart"])
def test_interruption_keeps_what_is_done(way: str, request: pytest.FixtureRequest) -> None:
    """Ctrl-C ends the sweep, what was done stays on the exception, and no process is left."""
    request.getfixturevalue(way)

    def interrupt(done: int, total: int) -> None:
        if done == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(nb.SweepInterrupted, match="of 6 points") as stopped:
        nb.sweep(BARS, SmaCross, GRID, progress=interrupt)
    partial = stopped.value.result
    assert len(partial) >= 2
    assert not partial.complete
    assert "interrupted" in repr(partial)


def test_progress_is_told_of_every_point() -> None:
    """The numbers rise to the total."""
    seen = []
    with ThreadPoolExecutor(1) as threads:
        nb.sweep(BARS, SmaCross, GRID, executor=threads, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 6) for i in range(1, 7)]


def test_nothing_is_shown_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """Where output goes to a file, no line of progress is in it."""
    with ThreadPoolExecutor(1) as threads:
        nb.sweep(BARS, SmaCross, GRID, executor=threads)
    assert capfd.readouterr() == ("", "")


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    """A plain script that defines its strategy and sweeps at its top level works, and prints once."""
    script = tmp_path / "plain.py"
    script.write_text(
        "import nbbacktest as nb\nfrom tests.markets import minutes\n"
        "class Mine(nb.Strategy):\n    size: int = 1\n"
        "    def on_bar(self, bar):\n        if not self.position().size: self.buy(size=self.size)\n"
        "print(len(nb.sweep(minutes(50), Mine, {'size': range(1, 6)})))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "5\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such end of a process")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM] if sys.platform != "win32" else [])
def test_workers_end_with_their_caller(tmp_path: Path, number: signal.Signals) -> None:
    """Killed while its workers are in the middle of their points: they are gone with it, and the sweep's folder is too."""
    script, pids, folder = tmp_path / "long.py", tmp_path / "pids", tmp_path / "tmp"
    pids.mkdir()
    folder.mkdir()
    script.write_text(
        "import os, time\nfrom pathlib import Path\nimport nbbacktest as nb\nfrom tests.markets import minutes\n"
        f"CALLER, PIDS = os.getpid(), Path({str(pids)!r})\n"
        "class Long(nb.Strategy):\n    size: int = 1\n"
        "    def on_start(self):\n"
        "        if self.size == 1: time.sleep(1.0)\n"  # much work: the caller hands all of it out
        "        elif os.getpid() != CALLER:\n"
        "            (PIDS / str(os.getpid())).touch()\n            time.sleep(600)\n"
        "    def on_bar(self, bar): pass\n"
        "nb.sweep(minutes(50), Long, {'size': range(1, 60)})\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(folder)}
    with subprocess.Popen([sys.executable, str(script)], env=env, stderr=subprocess.PIPE) as caller:
        try:
            until(lambda: any(pids.iterdir()))
            workers = [psutil.Process(int(path.name)) for path in pids.iterdir()]
            assert list(folder.glob("nbbacktest-sweep-*"))
        finally:
            caller.send_signal(number)
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []
    until(lambda: not list(folder.glob("nbbacktest-sweep-*")))


def until(condition: Callable[[], bool]) -> None:
    """Look again and again, as nothing tells of another process's deeds."""
    deadline = monotonic() + 60
    while not condition():
        assert monotonic() < deadline
        sleep(0.02)
