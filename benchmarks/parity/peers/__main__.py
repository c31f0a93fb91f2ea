"""One tape on one engine: ``python -m benchmarks.parity.peers ENGINE TAPE`` prints one line of JSON."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version

from benchmarks.parity.tape import Outcome, Tape


def main(engine: str, path: str) -> None:
    """Run and print; the adapter's module is imported here, and with it the engine."""
    warnings.simplefilter("ignore")
    adapter = import_module(f"benchmarks.parity.peers.{engine}")
    fills, equity = adapter.run(Tape.read(path))
    print(json.dumps(asdict(Outcome(fills, equity, version(adapter.ENGINE)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
