"""The system that tests of whole runs command."""

from __future__ import annotations

import pytest

import nbbacktest as nb


@pytest.fixture(params=["threads", "slices"])
def system(request, monkeypatch):
    """A manager that no other process reaches, with threads and without; its run is stopped after the test."""
    if request.param == "slices":
        monkeypatch.setenv("NBBACKTEST_THREADS", "off")
    system = nb.SystemManager(reachable=False)
    yield system
    if not system.is_stopped():
        system.stop()
