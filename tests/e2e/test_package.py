"""What is published: a wheel and a source distribution that hold what a user needs, and work where they are installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.lowest import lowest

ROOT = Path(__file__).parents[2]
PYRIGHT = ROOT / ".venv" / "pyright"
SAMPLE = ROOT / "tests" / "typing" / "sample.py"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both distributions, as `make build` makes them."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder


@pytest.mark.slow
def test_the_wheel_works_where_it_is_installed(dist, tmp_path):
    """From the installed wheel alone, with no clone in sight, a session of synthetic bars runs from the command line."""
    [wheel] = dist.glob("*.whl")
    place = tmp_path / "place"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(place)]
    subprocess.run([*pip, str(wheel)], timeout=120, check=True, capture_output=True)
    # Not a part of the coverage measurement: what runs there is a copy.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment = {**kept, "PYTHONPATH": str(place)}
    program = "import nbbacktest; print(nbbacktest.__file__, nbbacktest.__version__)"
    for_package = [sys.executable, "-c", program]
    said = subprocess.run(
        for_package, env=environment, cwd=tmp_path, timeout=60, check=True, capture_output=True, text=True
    )
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert said.stdout.split() == [str(place / "nbbacktest" / "__init__.py"), version]
    config = ROOT / "session_configs" / "clock_driven.json"
    ran = [sys.executable, "-m", "nbbacktest", "run", str(config)]
    subprocess.run(ran, env=environment, cwd=tmp_path, timeout=60, check=True, capture_output=True)


@pytest.mark.slow
def test_the_distributions_hold_what_is_needed(dist):
    """The wheel has the marker of types, styles and scripts, and nothing but the package; the sources have the tests."""
    [wheel], [source] = dist.glob("*.whl"), dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    kept = {path for path in (ROOT / "nbbacktest").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert packed == {path.relative_to(ROOT).as_posix() for path in kept}
    assert {"nbbacktest/py.typed", "nbbacktest/widgets/static/panel.js"} <= packed
    with tarfile.open(source) as archive:
        top = {name.split("/")[1] for name in archive.getnames()}
    assert {"nbbacktest", "tests", "benchmarks", "docs", "session_configs", "LICENSE", "Makefile"} <= top


def test_every_dependency_has_a_lower_bound():
    """`make lowest` has a version to install for each dependency."""
    pins = lowest()
    assert len(pins) > 15
    assert all("==" in pin for pin in pins)


def checked(*command: str, beside: Path | None = None) -> None:
    """Let a type checker, perhaps one that lies beside the environment, read a user's program with the tree's package."""
    paths = os.pathsep.join(map(str, filter(None, [beside, ROOT])))
    done = subprocess.run(
        [sys.executable, "-m", *command], env={**os.environ, "PYTHONPATH": paths}, cwd=ROOT, timeout=170,
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_users_program_is_checked_by_mypy():
    """A strategy and its runs have the types that the pages say, by mypy's strict reading."""
    checked("mypy", "--config-file=", "--strict", "--python-version", "3.12", str(SAMPLE))


def test_a_users_program_is_checked_by_pyright(tmp_path):
    """The same by pyright's strict reading; basedpyright is pyright as a package that downloads nothing."""
    if not PYRIGHT.is_dir():
        pytest.skip(f"{PYRIGHT} is missing: make .venv/.pyright installs basedpyright there")
    config = {"include": [str(SAMPLE)], "typeCheckingMode": "strict", "extraPaths": [str(ROOT)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    checked("basedpyright", "--project", str(tmp_path), "--pythonpath", sys.executable, beside=PYRIGHT)
