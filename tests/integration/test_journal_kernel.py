"""A notebook's kernel is killed while a run is under way, and the next kernel goes on with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import nbbacktest as nb
from nbbacktest.system.journal.folder import runs_in, state_of
from nbbacktest.system.journal.lines import read_journal
from tests.markets import minutes

ROOT = Path(__file__).parents[2]

STRATEGY = """
import nbbacktest as nb
from tests.markets import minutes

class Mine(nb.Strategy):
    every: int = 7

    def on_bar(self, bar):
        if len(self.bars()) % self.every == 0:
            self.buy(size=1)
"""
BEGUN = """
system = nb.get_system_manager()
system.start({"exchange": "24/7"}, data=minutes(200), strategies=Mine, every=5, paused=True)
system.step(60)
system.sell("ASSET", 3)
system.step(40)
"""


@contextmanager
def kernel(tmp_path: Path) -> Iterator[tuple[object, object]]:
    from jupyter_client.manager import start_new_kernel

    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path)}
    manager, client = start_new_kernel(kernel_name="python3", env=environment, cwd=str(ROOT))
    try:
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def said(client, code: str) -> str:
    """What a cell prints; what it raises is raised."""
    told: list[str] = []

    def hear(message) -> None:
        if message["msg_type"] == "stream":
            told.append(message["content"]["text"])

    reply = client.execute_interactive(code, output_hook=hear, timeout=60)
    if reply["content"]["status"] == "error":
        raise RuntimeError(f"{reply['content']['ename']}: {reply['content']['evalue']}")
    return "".join(told)


@pytest.mark.timeout(170)
def test_the_next_kernel_goes_on(tmp_path):
    runs = tmp_path / "nbbacktest" / "runs"
    with kernel(tmp_path) as (manager, client):
        said(client, STRATEGY)
        said(client, BEGUN)
        manager.signal_kernel(9)
        manager.shutdown_kernel(now=True)
    [run] = runs_in(runs)
    journal = run / "journal"
    assert state_of(journal) == "killed"
    [facts] = read_journal(journal).origin.strategies
    assert (facts.name, facts.params) == ("__main__:Mine", {"every": 5})
    assert facts.source.startswith("class Mine(nb.Strategy):")
    assert facts.source.rstrip().endswith("self.buy(size=1)")
    with kernel(tmp_path) as (_, client):
        assert "system.recover() goes on" in said(
            client,
            "import nbbacktest as nb; system = nb.get_system_manager(); print(system.panel().controls.notice.value)",
        )
        with pytest.raises(
            RuntimeError, match=r"JournalError: .*__main__:Mine, that isn't there any more.*define it first"
        ):
            said(client, "from tests.markets import minutes; system.recover(data=minutes(200))")
        said(client, STRATEGY)
        told = said(
            client,
            "print(system.recover(data=minutes(200)), system.snapshot().cursor, len(system.inputs));"
            "system.resume(); print(system.wait().fingerprint)",
        )
    first, fingerprint = told.split("\n")[:2]
    assert first == "True 100 1"
    assert state_of(journal) == "ended"
    namespace = {"__name__": "again"}
    exec(STRATEGY, namespace)
    assert nb.replay(journal, data=minutes(200), strategies=namespace["Mine"]).fingerprint == fingerprint
