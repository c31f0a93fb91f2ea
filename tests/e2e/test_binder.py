"""What Binder makes of `binder/`: an environment from these files alone, in which the first notebook runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "tests", "benchmarks", "docs")


def run(*command: str | Path, cwd: Path, environment: dict[str, str]) -> str:
    """What a command prints; its complaint where it fails."""
    ended = subprocess.run(
        [str(one) for one in command],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
    assert ended.returncode == 0, f"{command} ended with {ended.returncode}:\n{ended.stdout[-4000:]}"
    return ended.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Binder builds on Linux")
@pytest.mark.timeout(900)
def test_the_first_notebook_runs_in_binders_environment(tmp_path):
    """Requirements, then postBuild, then the quickstart in JupyterLab's own machinery: its last output is the committed one."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT, checkout, ignore=LEFT_OUT)
    home = tmp_path / "environment"
    run(sys.executable, "-m", "venv", home, cwd=checkout, environment=dict(os.environ))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV_", "JUPYTER"))}
    environment = {
        **kept,
        "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(home),
        "HOME": str(tmp_path),
        "PIP_COMPILE": "no",  # half a gigabyte of modules, of which a few are imported
        "PIP_CACHE_DIR": run(
            sys.executable, "-m", "pip", "cache", "dir", cwd=ROOT, environment=dict(os.environ)
        ).strip(),
    }
    run(
        "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "-r",
        "binder/requirements.txt",
        cwd=checkout,
        environment=environment,
    )
    report = run("bash", "binder/postBuild", cwd=checkout, environment=environment)
    assert "AAPL" in report
    settings = json.loads((home / "share/jupyter/lab/settings/overrides.json").read_text())
    assert settings["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
    assert str(home / "share/jupyter/lab") in run("jupyter", "lab", "path", cwd=checkout, environment=environment)
    executed = run(
        *("jupyter", "nbconvert", "--to", "notebook", "--execute", "--stdout", "notebooks/01_quickstart.ipynb"),
        cwd=checkout,
        environment=environment,
    )
    fresh = json.loads(executed[executed.index("{\n") :])
    committed = json.loads((ROOT / "notebooks/01_quickstart.ipynb").read_text())
    assert said(fresh) == said(committed)
    shutil.rmtree(home)  # half a gigabyte


def said(notebook: dict) -> list[str]:
    """What the last cell that printed printed."""
    outputs = [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code" and cell["outputs"]]
    texts = ["".join(output.get("text") or output.get("data", {}).get("text/plain", "")) for output in outputs[-1]]
    assert any(texts), "the last cell says nothing"
    return texts
