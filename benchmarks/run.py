"""All benchmarks, one after the other, as Markdown: `make bench`. Run it on a machine that does nothing else."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

SCRIPTS = (("speed.py",), ("speed.py", "1000000", "3"), ("overhead.py",), ("latency.py",), ("clock.py",), ("scale.py",))


def main() -> int:
    """Run every script; the first that fails ends it."""
    names = ("nbbacktest", "backtesting", "TA-Lib", "numpy", "pandas")
    cpu = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine())
    print(f"{cpu}, {os.cpu_count()} cores, {platform.system()}, CPython {platform.python_version()}; ", end="")
    print(", ".join(f"{name} {version(name)}" for name in names), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        return _run((*SCRIPTS, ("streaming.py", folder)))


def _run(scripts: Sequence[tuple[str, ...]]) -> int:
    for script, *arguments in scripts:
        command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name(script)), *arguments]
        if subprocess.run(command, check=False).returncode:
            return 1
    return 0


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":
    sys.exit(main())
