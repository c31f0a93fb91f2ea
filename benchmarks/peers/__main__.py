"""One run of one engine: ``python -m benchmarks.peers ENGINE TASK`` prints one line of JSON. Started by ``race``."""

from __future__ import annotations

import json
import platform
import sys
import warnings
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from benchmarks.task import Task

PACKAGES = ("numpy", "pandas", "numba", "TA-Lib")


def main(engine: str, task: str) -> None:
    """Run and print; the adapter's module is imported here, and with it the engine."""
    warnings.simplefilter("ignore")
    adapter = import_module(f"benchmarks.peers.{engine}")
    job = Task(**json.loads(task))
    outcome = adapter.CASES[job.case](job)
    installed = {name: found for name in (adapter.ENGINE, *PACKAGES) if name and (found := _version(name))}
    print(json.dumps({**asdict(outcome), "versions": installed, "python": platform.python_version()}))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main(*sys.argv[1:])
