"""The report: what was measured last of each thing, as JSON and Markdown, and between markers in ``docs/performance.md``."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.bars import HOUSE
from benchmarks.table import Table

PAGE = HOUSE.parent / "docs" / "performance.md"
PART = re.compile(r"(<!-- bench: (?P<name>[\w-]+) -->\n)(?P<body>.*?)(<!-- end -->)", re.DOTALL)


def keep(name: str, tables: list[Table], *, quick: bool, folder: Path = HOUSE) -> None:
    """Put a measurement into ``report.json``, over what was there of the same name, and write ``report.md`` anew."""
    report = load(folder)
    report[name] = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": machine(),
        "tables": [asdict(table) for table in tables],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=1))
    parts = [part for each in sorted(report) for part in (f"## {each}\n", section(report, each))]
    (folder / "report.md").write_text("\n".join(["# Benchmarks\n", *parts]))


def load(folder: Path = HOUSE) -> dict[str, Any]:
    """All that was measured, by name."""
    path = folder / "report.json"
    return json.loads(path.read_text()) if path.exists() else {}


def section(report: Mapping[str, Any], name: str) -> str:
    """One measurement, as a page has it."""
    found = report[name]
    tables = "\n".join(Table(**table).markdown() for table in found["tables"])
    quick = " Quick: sizes and repeats are small." if found["quick"] else ""
    return f"{tables}\n{found['machine']}; {found['when'][:10]}.{quick}{_versions(found['tables'])}\n"


def filled(page: str, report: Mapping[str, Any]) -> str:
    """A page with its marked parts as they were measured last; what wasn't measured stays."""

    def part(match: re.Match[str]) -> str:
        name = match["name"]
        return match[1] + (section(report, name) if name in report else match["body"]) + match[4]

    return PART.sub(part, page)


def write_page() -> None:
    """Fill ``docs/performance.md`` with what was measured in full."""
    report = {name: measured for name, measured in load().items() if not measured["quick"]}
    PAGE.write_text(filled(PAGE.read_text(), report))


def machine() -> str:
    """What it ran on, in a line."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    python = f"CPython {platform.python_version()}"
    return f"{cpu}, {os.cpu_count()} cores, {platform.system()}, {python}, nbbacktest {version('nbbacktest')}"


def _versions(tables: list[Mapping[str, Any]]) -> str:
    found: dict[str, str] = {}
    for table in tables:
        for figures in (table["figures"] or {}).values() if isinstance(table["figures"], dict) else ():
            versions = figures.get("versions", {}) if isinstance(figures, dict) else {}
            engine = next(iter(versions), None)
            if engine and engine not in {"numpy", "nbbacktest"}:
                found[engine] = versions[engine]
    return " Peers: " + ", ".join(f"{name} {number}" for name, number in found.items()) + "." if found else ""
