"""The command line as a user has it: in a process of its own, in pipes and in a terminal, interrupted and cut off."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import nbbacktest as nb
from nbbacktest.core.config import EXAMPLE
from tests.live import deaf_client

ROOT = Path(__file__).parents[2]
DAILY = str(ROOT / "session_configs" / "aapl_daily.json")
PACED = str(ROOT / "session_configs" / "clock_driven.json")
COMMAND = [sys.executable, "-m", "nbbacktest"]

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and pseudo terminals are of POSIX")

WAITER = """
import nbbacktest as nb

class Waiter(nb.Strategy):
    def on_bar(self, bar):
        print("a bar came")
"""


def environment(**changes: str) -> dict[str, str]:
    """The tests' own environment, without what would colour or size the output."""
    loud = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "CLICOLOR_FORCE")
    return (
        {k: v for k, v in os.environ.items() if k not in loud}
        | {"TERM": "xterm-256color", "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
        | changes
    )


def command(*arguments: str, cwd: Path = ROOT, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, env=environment(), capture_output=True, text=True, timeout=50, check=False,
        encoding="utf-8", **options,
    )  # fmt: skip


def test_the_console_script_is_the_command_line():
    """Installing the project gives the command `nbbacktest`."""
    [script] = entry_points(group="console_scripts", name="nbbacktest")
    assert script.value == "nbbacktest.cli:main"


def test_the_demo_reads_as_plain_text_in_a_pipe():
    """Status 0, the report on stdout without one escape sequence, and a silent stderr."""
    done = command("run", DAILY)
    assert (done.returncode, done.stderr) == (0, "")
    assert "AAPL, daily: a moving average cross" in done.stdout
    assert "Max drawdown" in done.stdout
    assert "\x1b" not in done.stdout
    assert "Traceback" not in done.stdout


def test_json_and_a_saved_file_tell_the_same(tmp_path):
    """--json prints one document, --save keeps the result: both have the same fingerprint."""
    done = command("run", DAILY, "--json", "--save", "aapl.nbbt", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "saved to aapl.nbbt\n")
    result = nb.Result.load(tmp_path / "aapl.nbbt")
    assert json.loads(done.stdout)["fingerprint"] == result.fingerprint
    assert result.stats["bars"] == 3270


def test_a_strategy_beside_the_config_runs(tmp_path):
    """A module in the current folder is found; one that isn't there is wrong usage, in one line."""
    (tmp_path / "mine.py").write_text(WAITER, encoding="utf-8")
    for name, status in (("mine", 0), ("yours", 2)):
        config = EXAMPLE | {"strategies": [{"class": f"{name}:Waiter"}]}
        (tmp_path / "run.json").write_text(json.dumps(config), encoding="utf-8")
        done = command("run", "run.json", cwd=tmp_path)
        assert done.returncode == status
    assert "strategies.0.class = 'yours:Waiter': module 'yours' can't be imported: ModuleNotFoundError" in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("call", [("run",), ("system", "start")], ids=" ".join)
@pytest.mark.parametrize("module", [True, False], ids=["python -m", "nbbacktest"])
def test_files_of_the_folder_shadow_no_installed_module(tmp_path, call, module):
    """A folder with a json.py and a numpy.py of its own: a strategy of it is found, and they aren't read."""
    (tmp_path / "mine.py").write_text(WAITER, encoding="utf-8")
    for name in ("json", "numpy", "pandas", "rich", "pyarrow", "statistics", "decimal", "zoneinfo", "queue"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('shadowed')\n", encoding="utf-8")
    (tmp_path / "run.json").write_text(
        json.dumps(EXAMPLE | {"strategies": [{"class": "mine:Waiter"}]}), encoding="utf-8"
    )
    program = [sys.executable, "-m", "nbbacktest"] if module else [str(Path(sys.executable).parent / "nbbacktest")]
    done = subprocess.run(
        [*program, *call, "run.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
        check=False,
    )
    assert (done.returncode, "shadowed" in done.stdout + done.stderr) == (0, False), done.stderr


def test_without_the_samples_extra_the_error_names_it():
    """Where the package of samples is missing: status 2, and the line that installs it."""
    code = (
        "import sys; sys.modules['bokeh_sampledata'] = None\n"
        "from nbbacktest.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", DAILY], env=environment(), capture_output=True, text=True, timeout=50,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert 'pip install "nbbacktest[samples]"' in done.stderr
    assert "Traceback" not in done.stderr


@posix
@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_reports_what_was_run(tmp_path, as_json):
    """An interrupt ends the run within a moment: status 130, the part that was run, and no traceback."""
    (tmp_path / "mine.py").write_text(WAITER, encoding="utf-8")
    config = EXAMPLE | {"strategies": [{"class": "mine:Waiter"}], "session_name": "Slow"}
    config["backtest"] = EXAMPLE["backtest"] | {"speed_multiplier": 1}
    (tmp_path / "run.json").write_text(json.dumps(config), encoding="utf-8")
    process = subprocess.Popen(
        [*COMMAND, "run", "run.json", *(["--json"] if as_json else [])], cwd=tmp_path, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        # Where the tests themselves were started with the signal ignored (nohup, a job of a shell), it is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    assert (process.stderr if as_json else process.stdout).readline() == "a bar came\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted: this is what was run until then" in err
    assert "Traceback" not in out + err
    if as_json:
        document = json.loads(out)
        assert document["metrics"]["performance_metrics"]["bars_processed"] in (1, 2)
    else:
        assert "Slow" in out
        assert "Final equity" in out


@posix
@pytest.mark.parametrize("arguments", [["run", DAILY], ["run", DAILY, "--json"], ["schema"], ["--help"]])
def test_a_reader_who_has_gone_is_no_crash(arguments):
    """Writing to a closed pipe ends the command with status 1 and not a word."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*COMMAND, *arguments], env=environment(), stdout=writing, stderr=subprocess.PIPE, text=True, timeout=50,
            check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@posix
def test_the_first_ctrl_c_ends_a_feed_server_with_a_deaf_client(tmp_path):
    """A client that reads nothing keeps nobody."""
    config = {
        "exchange": "24/7",
        "backtest": {"start_date": "2024-10-01", "end_date": "2024-11-09"},
        "data": {"symbols": ["A"]},
    }
    (tmp_path / "c.json").write_text(json.dumps(config))
    with subprocess.Popen(
        [*COMMAND, "feed", "serve", "c.json", "--port", "0", "--speed", "0"], cwd=tmp_path, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        try:
            port = int(re.search(r"ws://127\.0\.0\.1:(\d+)", server.stdout.readline())[1])
            with deaf_client(port):
                server.send_signal(signal.SIGINT)
                _, err = server.communicate(timeout=20)
        finally:
            server.kill()
    assert (server.returncode, err) == (0, "")


EXPECTED = {"session_name": "東京 Ünder", **{k: v for k, v in EXAMPLE.items() if k != "session_name"}}

READERS = {
    "gone": ("", "| true", ""),
    "gone, of errors too": ("", "2>&1 | true", ""),
    "a full disk": ("", "> /dev/full", ""),
    "a full disk, of JSON": ("--json", "> /dev/full 2> /dev/full", ""),
    "all closed": ("", "<&- >&- 2>&-", ""),
    "ASCII": ("", "> out.txt", "ascii"),
    "ASCII, of JSON": ("--json", "> out.txt", "ascii"),
}


@posix
@pytest.mark.parametrize("reader", READERS)
def test_a_result_is_kept_whatever_reads_the_report(tmp_path, reader):
    """The file is complete, nothing is left beside it, and no traceback is told."""
    option, redirected, encoding = READERS[reader]
    if "/dev/full" in redirected and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "c.json").write_text(json.dumps(EXPECTED), encoding="utf-8")
    ran = subprocess.run(
        f"'{sys.executable}' -m nbbacktest run c.json {option} --save kept.nbbt {redirected}",
        shell=True, cwd=tmp_path, stderr=subprocess.PIPE, timeout=50, check=False,
        env=environment(PYTHONUTF8="0", PYTHONUNBUFFERED="", **({"PYTHONIOENCODING": encoding} if encoding else {})),
    )  # fmt: skip
    assert b"Traceback" not in ran.stderr
    assert b"Exception ignored" not in ran.stderr
    assert nb.Result.load(tmp_path / "kept.nbbt").stats["bars"] > 0
    assert {path.name for path in tmp_path.iterdir()} <= {"c.json", "kept.nbbt", "out.txt"}
    if encoding:
        text = (tmp_path / "out.txt").read_text(encoding)
        assert r"\u6771\u4eac" in text
        assert text.count("\n") > (0 if option else 20)


@posix
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["run", "--help"], 0), (["nonsense"], 2), (["data", "quality", "c.json"], 0), (["system", "start", "c.json"], 0), ([], 0),
    ],
)  # fmt: skip
def test_every_command_writes_in_a_poor_encoding(tmp_path, arguments, status):
    """What the encoding lacks is escaped; the status is the same as ever."""
    (tmp_path / "c.json").write_text(json.dumps(EXPECTED), encoding="utf-8")
    ran = subprocess.run(
        [*COMMAND, *arguments], cwd=tmp_path, capture_output=True, timeout=50, check=False,
        env=environment(PYTHONUTF8="0", PYTHONIOENCODING="ascii"), input=b"start c.json\nwait\nreport\nstatus\n",
    )  # fmt: skip
    assert ran.returncode == status
    assert b"Traceback" not in ran.stderr
    assert ran.stdout or ran.stderr


def in_terminal(width: int, *arguments: str, cwd: Path = ROOT, **changes: str) -> tuple[int, str]:
    """Run a command in a pseudo terminal of that width; its status, and all that the terminal was sent."""
    import fcntl
    import pty
    import termios

    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=cwd, env=environment(**changes), stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    sent = b""
    while True:
        try:
            part = os.read(controller, 65_536)
        except OSError:  # Linux's way to say that the other end was closed
            part = b""
        if not part:
            break
        sent += part
    os.close(controller)
    return process.wait(20), sent.decode("utf-8")


def plain(text: str) -> list[str]:
    """The lines that stay on the screen: without colours, and without what was wiped out again."""
    rows = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r\n", "\n").split("\n")
    return [row.rsplit("\r", 1)[-1] for row in rows]


@posix
@pytest.mark.parametrize("width", [80, 160])
def test_a_terminal_sees_progress_and_then_the_report(width):
    """While it runs, a bar with percent and time; then the report, coloured, and no line wider than the terminal."""
    status, sent = in_terminal(width, "run", PACED)
    assert status == 0
    assert "running" in sent
    shares = [int(n) for n in re.findall(r"(\d+)%", sent.partition("Return and risk")[0])]
    assert any(0 < share < 100 for share in shares)
    assert "2024-10-03 1" in sent
    assert "\x1b[3" in sent
    lines = plain(sent)
    assert max(map(len, lines)) <= width
    assert any(line.startswith("One synthetic session") for line in lines)
    assert any("clock-driven" in line for line in lines)


@posix
def test_no_color_is_respected():
    """With NO_COLOR set, a terminal gets the same report without a colour."""
    status, sent = in_terminal(80, "run", DAILY, NO_COLOR="1")
    assert status == 0
    assert "AAPL" in sent
    assert not re.search(r"\x1b\[(?:\d+;)*(?:3[0-8]|9[0-7])(?:;\d+)*m", sent)


@posix
def test_a_failing_run_leaves_the_terminal_in_order(tmp_path):
    """The progress bar is gone and the cursor shown again when a strategy's error is told."""
    (tmp_path / "mine.py").write_text(WAITER.replace("print(", "raise ValueError("), encoding="utf-8")
    config = EXAMPLE | {"strategies": [{"class": "mine:Waiter"}]}
    (tmp_path / "run.json").write_text(json.dumps(config), encoding="utf-8")
    status, sent = in_terminal(100, "run", "run.json", cwd=tmp_path)
    assert status == 1
    assert "Waiter.on_bar raised" in sent
    assert sent.count("\x1b[?25l") == sent.count("\x1b[?25h")
    assert "Traceback" not in sent
