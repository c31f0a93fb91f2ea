"""The proof that nothing is left behind is worth something only if it fails when something is."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"

NO_PATIENCE = """
import conftest
conftest.GRACE_SECONDS = 0.05
"""


def outcomes(pytester: pytest.Pytester, body: str) -> pytest.RunResult:
    """Run tests in a process of their own, under this project's conftest and without its patience."""
    pytester.makeconftest(CONFTEST.read_text(encoding="utf-8"))
    pytester.makepyfile(test_it=NO_PATIENCE + body)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider")


def test_clean_test_passes(pytester: pytest.Pytester) -> None:
    """A test whose thread and process have ended passes."""
    result = outcomes(
        pytester,
        """
import subprocess, sys, threading

def test_clean():
    thread = threading.Thread(target=int, name="nbbacktest-short")
    thread.start()
    thread.join()
    subprocess.run([sys.executable, "-c", ""], check=True)
""",
    )
    result.assert_outcomes(passed=1)


def test_engine_thread_left_fails_with_its_stack(pytester: pytest.Pytester) -> None:
    """A daemon thread with the engine's name fails the test that left it, and only that test."""
    result = outcomes(
        pytester,
        """
import threading

done = threading.Event()

def linger():
    done.wait()

def test_leaks():
    threading.Thread(target=linger, name="nbbacktest-analysis", daemon=True).start()

def test_next():
    pass

def test_release():
    done.set()
""",
    )
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*this test left behind:*", "*thread 'nbbacktest-analysis' goes on*", "*in linger*"])


def test_foreign_thread_left_fails(pytester: pytest.Pytester) -> None:
    """Any other thread that would keep the process alive fails its test as well."""
    result = outcomes(
        pytester,
        """
import threading

done = threading.Event()

def test_leaks():
    threading.Thread(target=done.wait, name="somebody").start()

def test_release():
    done.set()
""",
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*thread 'somebody' goes on*"])


def test_child_process_left_fails(pytester: pytest.Pytester) -> None:
    """A child process that goes on fails the test that started it."""
    result = outcomes(
        pytester,
        """
import subprocess, sys

child = []

def test_leaks():
    child.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))

def test_release():
    child[0].communicate(b"\\n")
""",
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*process * goes on: *input()*"])


def test_open_file_left_fails(pytester: pytest.Pytester) -> None:
    """A file of the project that stays open fails the test that opened it."""
    result = outcomes(
        pytester,
        """
opened = []

def test_leaks():
    opened.append(open("left.csv", "w"))

def test_release():
    opened[0].close()
""",
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*left.csv is still open*"])
