"""Write the generated parts of statistics.md from the code's docstrings: ``python docs/build_statistics.py``.

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; a test holds the page to the code.
"""

# ruff: noqa: INP001 - a script, no package

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

from nbbacktest.report.table import AGAINST, GROUPS
from nbbacktest.trading import breakdown, comparison, excursions, periods, stats

PAGE = Path(__file__).with_name("statistics.md")
_PARTS = re.compile(r"(<!-- generated: (?P<name>[\w-]+) -->\n)(?P<body>.*?)(<!-- end -->)", re.DOTALL)
_UNITS = {
    "time": "Timestamp",
    "duration": "Timedelta",
    "count": "int",
    "percent": "fraction",
    "times": "number",
    "money": "currency",
    "number": "number",
}
_OTHER_NAMES = {"return": stats.total_return}
"""Statistics whose function can't be called what they are."""
_WITHOUT_FUNCTION = {
    "trades": "How many round trips have an exit. Exits are matched with the oldest entries of the same strategy and "
    "symbol (FIFO).",
    "days": "How many daily returns were compared: those between the dates that both have.",
    "benchmark_return": "`total` of the benchmark's daily returns: ``prod(1 + r) - 1``, over the common days.",
    "benchmark_cagr": "`cagr` of the benchmark, over the common days.",
    "benchmark_volatility": "`volatility` of the benchmark's daily returns.",
    "benchmark_sharpe": "`sharpe` of the benchmark's daily returns.",
    "benchmark_max_drawdown": "The deepest fall of ``cumprod(1 + r)`` of the benchmark's daily returns below its highest "
    "value until then, the start included; of days alone.",
}


def filled(page: str) -> str:
    """The page with its generated parts as the code wants them now."""
    return _PARTS.sub(lambda part: part[1] + MAKERS[part["name"]]() + part[4], page)


def _groups(groups: dict[str, dict[str, tuple[str, str]]], level: str = "###") -> str:
    parts = []
    for heading, rows in groups.items():
        parts.append(f"{level} {heading}\n")
        parts += [_entry(name, label, kind) for name, (label, kind) in rows.items()]
    return "\n" + "\n".join(parts) + "\n"


def _entry(name: str, label: str, kind: str) -> str:
    function = _OTHER_NAMES.get(name) or getattr(stats, name, None) or getattr(comparison, name, None)
    text = _WITHOUT_FUNCTION.get(name) or _prose(function)
    return f"**{label}** (`{name}`, {_UNITS[kind]}). {text}\n"


def _prose(thing: object) -> str:
    """A docstring's words up to its first section, as Markdown; tables of parameters are the code's own."""
    doc = inspect.getdoc(thing) or ""
    doc = re.split(r"\n\n(?:Parameters|Returns|Attributes|Raises)\n-+\n", doc)[0]
    return doc.replace("``", "`")


def _section(function: object) -> str:
    """A docstring's words, and what it says of the values that it gives."""
    doc = inspect.getdoc(function) or ""
    given = re.search(r"\n(?:Returns|Attributes)\n-+\n(?P<body>.*?)(?=\n\n[A-Z]\w+\n-+\n|\Z)", doc, re.DOTALL)
    lines: list[str] = []
    for line in given["body"].replace("``", "`").splitlines() if given else ():
        if line.startswith(" "):
            lines[-1] += f" {line.strip()}"
        else:
            name, _, kind = line.partition(" : ")
            lines.append(f"* `{name}` ({kind}):" if kind else "*")
    return "\n" + "\n".join([_prose(function), *([""] if lines else []), *lines]) + "\n\n"


MAKERS: dict[str, Callable[[], str]] = {
    "rules": lambda: f"\n{_rules(stats)}\n\n",
    "statistics": lambda: _groups(GROUPS),
    "against-rules": lambda: f"\n{_rules(comparison)}\n\n",
    "against": lambda: _groups(AGAINST),
    "excursions-rules": lambda: f"\n{_rules(excursions)}\n\n",
    "excursions": lambda: _section(excursions.Excursions),
    "monthly": lambda: _section(periods.monthly_returns),
    "rolling": lambda: _section(periods.rolling_statistics),
    "parts": lambda: _section(breakdown.breakdown),
}


def _rules(module: object) -> str:
    """A module's docstring after its first line."""
    words = (inspect.getdoc(module) or "").partition("\n\n")[2].replace("``", "`")
    return re.sub(r"^Pure functions of [^.]*\. ", "", words)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
