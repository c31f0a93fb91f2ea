"""What holds for the package as a whole, beside the floors that import-linter holds."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import nbbacktest as nb

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "nbbacktest").rglob("*.py"))
LONGEST = 400
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

HEAVY = ("pandas", "plotly", "pyarrow", "rich", "exchange_calendars", "talib", "pydantic", "IPython", "ipywidgets")

EXTRAS = ("lab", "live", "samples", "yfinance")
"""Those for users: what they bring may be imported, inside functions, by what needs it."""
PACKAGE_OF = {
    "talib": "ta-lib",
    "IPython": "ipykernel",
    "jupyter_core": "ipykernel",
    "psutil": "ipykernel",
    "traitlets": "ipywidgets",
}
"""Of modules named otherwise than their package, and of those that a package of ours has as its own foundation."""
WITHOUT_IMPORT = {
    "bokeh-sampledata": "its files are read, its module isn't needed",
    "jupyterlab": "the program that shows panels and notebooks",
    "tzdata": "zoneinfo finds it",
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


TREES = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}
"""Every module of the package as it is parsed, by its path."""


def test_every_module_says_its_duty() -> None:
    """Every module opens with a docstring."""
    assert [name for name, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_every_module_is_one_read() -> None:
    """No module grows beyond what one reads in a sitting: lines of code, neither docstrings nor comments."""
    lines = {name_of(path): lines_of_code(path.read_text(encoding="utf-8")) for path in MODULES}
    longer = {name: count for name, count in lines.items() if count > LONGEST}
    assert longer == {}, f"more than {LONGEST} lines: is there a second duty in it?"


def test_what_waits_does_so_by_a_monitor() -> None:
    """Ctrl-C can leave the standard library's condition, event and the like locked: they are met in one module alone."""
    waits = {"Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier", "Timer"}
    found = {
        (name, node.func.attr)
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in waits
    }
    assert {name for name, _ in found} == {"nbbacktest/core/monitor.py"}


def test_no_modules_import_each_other() -> None:
    """Imports at file level, those for type checkers included, lead in no circle."""
    names = {_dotted(name): name for name in TREES}
    imports = {one: set(_file_level(TREES[name].body, names)) - {one} for one, name in names.items()}
    waiting = {one: set(others) for one, others in imports.items()}
    while free := {one for one, others in waiting.items() if not others & waiting.keys()}:
        waiting = {one: others for one, others in waiting.items() if one not in free}
    # What is left is in a circle, or leads to one.
    circles = {tuple(sorted(circle)) for one in waiting if len(circle := _circle_of(one, imports)) > 1}
    assert circles == set()


def _dotted(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _file_level(nodes: list[ast.stmt], known: dict[str, str]) -> Iterator[str]:
    for node in nodes:
        match node:
            case ast.ImportFrom(module=str(module), names=names):
                found = [f"{module}.{alias.name}" for alias in names]
                yield from (one if one in known else module for one in found if one in known or module in known)
            case ast.Import(names=names):
                yield from (alias.name for alias in names if alias.name in known)
            case ast.If(body=body, orelse=orelse):
                yield from _file_level([*body, *orelse], known)
            case ast.ClassDef(body=body):
                yield from _file_level(body, known)


def _circle_of(one: str, imports: dict[str, set[str]]) -> set[str]:
    """The modules that `one` reaches, and that reach it."""
    return {other for other in _reached(one, imports) if one in _reached(other, imports)}


def _reached(one: str, imports: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    todo = [one]
    while todo:
        new = imports[todo.pop()] - found
        found |= new
        todo += new
    return found


def test_no_two_classes_share_a_name() -> None:
    """A class's name means one thing in the whole package."""
    homes: dict[str, list[str]] = {}
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(name)
    twice = {name: found for name, found in homes.items() if len(found) > 1}
    assert twice == {}


def lines_of_code(text: str) -> int:
    """How many lines of a module are neither blank, nor comment, nor part of a docstring."""
    told: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                told.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    lines = enumerate(text.splitlines(), start=1)
    return sum(1 for number, line in lines if number not in told and line.strip() and not line.strip().startswith("#"))


def test_user_mistakes_never_meet_assert() -> None:
    """The package raises its own errors: an `assert` vanishes under ``python -O``."""
    found = [
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
    ]
    assert found == [], "raise one of nbbacktest.core.errors instead"


def test_import_is_light() -> None:
    """`import nbbacktest` brings in none of the heavy libraries; they load where they are first needed."""
    program = f"import json, sys, nbbacktest; print(json.dumps(sorted(set({HEAVY!r}) & set(sys.modules))))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    assert json.loads(done.stdout) == []


def test_a_first_run_is_light() -> None:
    """What few runs need is imported by those that do: a first run pays for itself alone."""
    rare = [
        *(
            f"nbbacktest.{name}"
            for name in ("system.live_builder", "system.cooperative", "trading.live", "trading.look")
        ),
        *(f"nbbacktest.report.{name}" for name in ("benchmark", "document", "explain", "figure", "storage")),
    ]
    program = (
        "import json, sys, nbbacktest as nb; from tests.markets import minutes; from tests.held import Quiet; "
        f"nb.backtest(minutes(20), Quiet).stats; print(json.dumps([name for name in {rare!r} if name in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    assert json.loads(done.stdout) == []


def test_every_public_name_exists() -> None:
    """Each name in `nbbacktest.__all__` can be had, the ones that load late included."""
    program = "import nbbacktest as nb; assert nb.__all__; print([n for n in nb.__all__ if not hasattr(nb, n)])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_package_is_typed() -> None:
    """The marker that tells type checkers to read the package's own types is shipped."""
    assert (ROOT / "nbbacktest" / "py.typed").is_file()


def imported(path: Path) -> Iterator[str]:
    """The modules from elsewhere that a module imports, by statement or by `import_module` with a name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                found = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), level=0):
                found = [module]
            case ast.Call(func=ast.Name(id="import_module"), args=[ast.Constant(value=str(module))]):
                found = [module]
            case _:
                continue
        tops = {name.partition(".")[0] for name in found}
        yield from tops - sys.stdlib_module_names - {"nbbacktest"}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    """Users install what the package imports, and nothing that nobody needs."""
    lines = PROJECT["dependencies"] + [line for extra in EXTRAS for line in PROJECT["optional-dependencies"][extra]]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    needed = {canonicalize_name(PACKAGE_OF.get(name, name)) for path in MODULES for name in imported(path)}
    assert needed - declared == set(), "imported, but not in pyproject.toml"
    assert declared - needed == WITHOUT_IMPORT.keys(), "in pyproject.toml without an import, or with one by now"


def test_the_files_about_the_package_agree() -> None:
    """Name, version, licence and authors are the same in pyproject.toml, the package, CITATION.cff and LICENSE."""
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    assert f"title: {PROJECT['name']}" in cited
    assert f"version: {PROJECT['version']}" in cited
    assert f"license: {PROJECT['license']}" in cited
    assert f'abstract: "{PROJECT["description"]}"' in cited
    assert [f"  - name: {author['name']}" for author in PROJECT["authors"]] == cited[cited.index("authors:") + 1 :]
    assert nb.__version__ == PROJECT["version"]
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
