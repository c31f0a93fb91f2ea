"""Fill the parts of these pages that are generated from the code: ``python docs/build_pages.py``.

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; a test holds each to the code.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbbacktest as nb
from nbbacktest.core.enums import SystemState
from nbbacktest.core.lifecycle import HOLDS, TABLE, Command
from nbbacktest.report.table import AGAINST, GROUPS
from nbbacktest.trading import excursions, returns, stats

FOLDER = Path(__file__).parent
PARTS = re.compile(r"(<!-- generated: (?P<name>[\w-]+) -->\n)(?P<body>.*?)(<!-- end -->)", re.DOTALL)

REPORTS = (Command.REST, Command.FINISH, Command.FAIL)
"""What the engine says by itself."""


def filled(page: str) -> str:
    """The page with its generated parts as the code wants them now."""
    return PARTS.sub(lambda part: part[1] + MAKERS[part["name"]](part["body"]) + part[4], page)


# -- states -------------------------------------------------------------------------------------------------


def answers(_: str) -> str:
    """What each command does in each state, as a table."""
    commands = [command for command in Command if command not in REPORTS]
    rows = [[f"`{command}()`", *(answer(state, command) for state in SystemState)] for command in commands]
    return _table(["command", *(state.name for state in SystemState)], rows)


def answer(state: SystemState, command: Command) -> str:
    """One cell of that table."""
    if (state, command) in HOLDS:
        return "False"
    if (after := TABLE.get((state, command))) is None:
        return "`InvalidTransition`"
    # What steps and run_until lead to is where they end, since they wait for it.
    waits = command in (Command.STEP, Command.RUN_UNTIL)
    return f"True, then {SystemState.PAUSED.name if waits else after.name}"


# -- the session config -------------------------------------------------------------------------------------

WHAT_FIELDS_DONT_SAY = {
    "session_name": "what reports and the status call the run",
    "backtest": "which days, and how fast",
    "data": "where bars come from",
    "quality": "what becomes of faulty rows and of data with gaps",
    "broker": "what trading costs and how orders fill",
    "limits": "how much may be held",
    "remote": "whether other terminals can reach the run",
    "journal": "whether and where the run is kept, so that it can be gone on with if its process dies",
    "commission": "what a fill costs",
    "slippage": "how much worse than the rule's price market, stop and market-if-touched orders fill",
    "kind": "which of the two it is",
}
"""Meanings of the keys that the schema describes by their type alone."""


def config_keys(_: str) -> str:
    """Every key of the config: a table for the top, for each section, and for each model that can be chosen."""
    schema = nb.schema("config")
    defined = schema["$defs"]
    lines: list[str] = []
    for heading, part in [("Top level", schema), *_sections(schema, "", defined)]:
        rows = list(_key_rows(part, defined))
        said = [] if part is schema else [part["description"].replace("``", "`"), ""]
        lines += [f"### {heading}", "", *said, *([_table(["key", "type", "default", "meaning"], rows)] if rows else ())]
    return "\n".join(["", *lines]).rstrip("\n") + "\n"


def _sections(part: dict[str, Any], path: str, defined: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a part's keys hold, however deep, under its path; a chosen model is named beside it."""
    for key, value in part["properties"].items():
        for mark, name in _references(value):
            inner = defined[name]
            model = _model(inner)
            yield f"`{path}{key}{mark}`" + (f": {model}" if model else ""), inner
            yield from _sections(inner, f"{path}{key}{mark}.", defined)


def _references(value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The definitions that a key's value refers to, each after ``[]`` where it is a list's."""
    if "$ref" in value:
        yield "", value["$ref"].rpartition("/")[2]
    for one in (*value.get("oneOf", ()), *value.get("anyOf", ())):
        yield from _references(one)
    if isinstance(value.get("additionalProperties"), dict):
        yield from ((".*" + mark, name) for mark, name in _references(value["additionalProperties"]))
    if "items" in value:
        yield from (("[]" + mark, name) for mark, name in _references(value["items"]))


def _key_rows(part: dict[str, Any], defined: dict[str, Any]) -> Iterator[list[str]]:
    for key, value in part["properties"].items():
        if key == "model":  # the heading says it
            continue
        meaning = value.get("description") or WHAT_FIELDS_DONT_SAY[key]
        yield [f"`{key}`", _type(value, defined), _default(key, value, part), meaning]


def _type(value: dict[str, Any], defined: dict[str, Any]) -> str:
    if "$ref" in value:
        return "object"
    if "discriminator" in value:
        return f"object, model {' or '.join(_model(defined[name]) for _, name in _references(value))}"
    for several in ("anyOf", "oneOf"):
        if several in value:
            return " or ".join(_type(one, defined) for one in value[several])
    if "enum" in value:
        return " or ".join(_code(one) for one in value["enum"])
    if "const" in value:
        return _code(value["const"])
    if value["type"] == "array":
        return f"list of {_type(value['items'], defined).removesuffix('s')}s" + (", not empty" * ("minItems" in value))
    bounds = [f"{word} {value[bound]}" for bound, word in BOUNDS.items() if bound in value]
    kind = {"string": "text", "date": "date"}.get(value.get("format", value["type"]), value["type"])
    kind += ", not empty" * ("minLength" in value)
    return f"{kind} {' and '.join(bounds)}".rstrip()


BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def _default(key: str, value: dict[str, Any], part: dict[str, Any]) -> str:
    if key in part.get("required", ()):
        return "required"
    if "default" in value:
        return _code(value["default"])
    # Those that are made anew each time aren't in the schema: cost models, and sections that may be left out whole.
    made = getattr(nb.SessionConfig().broker, key, None)
    return _code(made.model_dump() if made is not None else {})


def _model(part: dict[str, Any]) -> str:
    model = part["properties"].get("model")
    return _code(model["const"]) if model else ""


def _code(value: Any) -> str:
    return f"`{json.dumps(value)}`"


# -- the status ---------------------------------------------------------------------------------------------

STATUS = {
    "system_manager._state": "what `get_state()` says; a failed run is `stopped` with `error` set",
    "system_manager._mode": "kind of run",
    "system_manager.next_start": "what `start` without arguments runs: strategies, symbols and source; null before the first run",
    "system_manager.timezone": "IANA name of the zone that times are shown in; null before the first run",
    "performance_metrics.session_duration": "wall seconds from the start to the end or to now, pauses included",
    "performance_metrics.bars_processed": "base bars delivered, all symbols together; warm-up isn't counted",
    "performance_metrics.bars_per_second": "`bars_processed / session_duration`",
    "performance_metrics.processor_timing": "seconds that the DataProcessor took to cut a window, waiting left out",
    "performance_metrics.analysis_timing": "seconds that the AnalysisEngine took to deliver a window, rests left out",
    "performance_metrics.coordinator_timing": "seconds that the SessionCoordinator took to release windows, or an instant; waiting left out",
    "performance_metrics.pause_timing": "seconds from each call of `pause` to rest; those that were taken back by a resume aren't counted",
    "performance_metrics.lateness": "seconds by which clock-driven instants began after their deadline",
    "subscriptions.*.mode": "the pair's mode; the second pair of a backtest is data-driven at every speed",
    "subscriptions.*.signals": "`signal_ready` calls",
    "subscriptions.*.waits": "`wait_until_ready` calls",
    "subscriptions.*.cycles": "signals that were worked off and reset",
    "subscriptions.*.overruns": "signals that came before the last one was reset, in clock-driven mode",
    "subscriptions.*.wait_seconds": "seconds spent in waits that have ended",
    "subscriptions.*.ready": "whether a signal waits to be worked off",
    "session.name": "`session_name` of the config",
    "session.source": "where the bars came from",
    "session.session_date": "local date of the last completed instant",
    "session.sim_time": "the last completed instant; null before the first",
    "session.place": "where the run stands: `cursor` (completed instants) and `inputs` by hand done there, the `horizon` that it has come "
    "to, `in_past` if that lies ahead, `travelling` (`at`, `to`) while it is on its way to another place, else null",
    "session.progress": "completed share of the instants, 0 to 1; 0 in live runs",
    "session.speed_multiplier": "the speed that is set; 0 is data-driven, or live",
    "session.achieved_speed": "simulated seconds a wall second, since the run last began to move",
    "session.lag_seconds": "seconds by which the last clock-driven or live instant began late; 0 where data-driven",
    "session.lag": "wall seconds behind, by the `lag` section of the config: how many times symbols `entered` and `left` lag, and the "
    "last 100 `events`: `symbol`, `kind`, `time`, `sim_time`, `lag_seconds`",
    "session.feed": "null, or of a live run's feed: `source`, `state` (connected, stale, reconnecting, closed, failed), "
    "`last_message_seconds`, `watermark`, bars `waiting`, `received`, `refused`, `late`, `duplicate`, `out_of_order`; "
    "`heartbeats`, `reconnects`, `last_refusal`, `overruns`; see [Live](live.md)",
    "session.symbols": "by symbol: `bars` delivered, `lag_seconds`, the `last_close`, and the data's `quality`: see [data](data.md#quality); null in live runs",
    "session.warmup": "by symbol and interval: how many bars before the first that is traded were `asked` for, and `got`",
    "session.breakpoints": "those that hold the run where it stands, as `number: condition`",
    "session.disagreements": "in how many places bars of several lengths of one symbol say different things",
    "portfolio.cash": "cash; the proceeds of short sales are in it",
    "portfolio.equity": "cash and positions at their newest closes",
    "portfolio.positions": "units by symbol, all strategies together; negative where short",
    "error": "null, or `type`, `message`, `strategy`, `callback`, `symbol`, `interval`, `time` and `traceback`",
    "_metadata.generated_at": "when the status was made, UTC",
    "_metadata.version": "rises when a key changes its meaning",
}
"""What the keys mean; `*` stands for the pairs of stages."""


def status_keys(_: str) -> str:
    """Every key of the status as one table."""
    rows = [[f"`{path}`", _status_type(part), STATUS[path]] for path, part in _leaves(nb.schema("status"), "")]
    return _table(["key", "type", "meaning"], rows)


def _leaves(part: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if path in STATUS:
        yield path, part
        return
    if path == "subscriptions":
        yield from _leaves(next(iter(part["properties"].values())), "subscriptions.*")
        return
    for name, inner in part["properties"].items():
        yield from _leaves(inner, f"{path}.{name}".lstrip("."))


def _status_type(part: dict[str, Any]) -> str:
    if "enum" in part:
        return " or ".join(_code(one) for one in part["enum"])
    if "const" in part:
        return _code(part["const"])
    if "count" in part.get("properties", ()):
        return "timing"
    return part["type"] if isinstance(part["type"], str) else " or ".join(part["type"])


def status_example(now: str) -> str:
    """A real status, of a run at rest. What was measured is only replaced where something determined has changed."""
    fresh = at_rest()
    there = re.search(r"```json\n(.*)```", now, re.DOTALL)
    if there and determined(json.loads(there[1])) == determined(fresh):
        return now
    return f"```json\n{json.dumps(fresh, indent=2)}\n```\n"


def at_rest() -> dict[str, Any]:
    """The status of the example session, held after its first hour."""
    system = nb.SystemManager()
    system.start(paused=True)
    try:
        system.run_until("10:30")
        return system.status()
    finally:
        system.stop()


def determined(status: Any, path: str = "") -> Any:
    """`status` without what differs from one run to the next: only the kind of such a value counts."""
    if isinstance(status, dict):
        return {key: determined(value, f"{path}.{key}") for key, value in status.items()}
    measured = ("_timing", ".lateness", ".subscriptions", "_duration", "_second", ".achieved_speed", ".generated_at")
    if isinstance(status, (int, float, str)) and any(word in path for word in measured):
        return None
    return status


# -- statistics ---------------------------------------------------------------------------------------------

UNITS = {
    "time": "Timestamp",
    "duration": "Timedelta",
    "count": "int",
    "percent": "fraction",
    "times": "number",
    "money": "currency",
    "number": "number",
}
OTHER_NAMES = {"return": stats.total_return}
"""Those whose function can't be called what they are."""
WITHOUT_FUNCTION = {
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


def _groups(groups: dict[str, dict[str, tuple[str, str]]]) -> str:
    parts = []
    for heading, rows in groups.items():
        parts.append(f"### {heading}\n")
        parts += [_entry(name, label, kind) for name, (label, kind) in rows.items()]
    return "\n" + "\n".join(parts) + "\n"


def _entry(name: str, label: str, kind: str) -> str:
    function = OTHER_NAMES.get(name) or getattr(stats, name, None) or getattr(returns, name, None)
    text = WITHOUT_FUNCTION.get(name) or _prose(function)
    return f"**{label}** (`{name}`, {UNITS[kind]}). {text}\n"


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


def _rules(module: object) -> str:
    """A module's docstring after its first line."""
    words = (inspect.getdoc(module) or "").partition("\n\n")[2].replace("``", "`")
    return "\n" + re.sub(r"^Pure functions of [^.]*\. ", "", words) + "\n\n"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    cells = [heads, ["---"] * len(heads), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


# -- the public names ---------------------------------------------------------------------------------------

API: dict[str, tuple[str, ...]] = {
    "Run": ("backtest", "get_system_manager", "replay", "SystemManager", "SystemState", "Snapshot", "SessionConfig", "schema"),
    "Write a strategy": ("Strategy", "ByHand", "Bar", "FormingBar", "Order", "Fill", "OrderType", "OrderStatus", "Side"),
    "Read a result": ("Result", "divergence", "Divergence", "audit_lookahead", "AuditReport"),
    "Compare parameters": ("sweep", "SweepResult", "SweepInterrupted"),
    "In a notebook": ("ControlPanel",),
    "Bring data": ("DataSource", "data_quality", "QualityReport", "PushFeed", "WebSocketFeed"),
    "Synchronize": ("StreamSubscription",),
    "Commission": (
        "NoCommission", "PercentCommission", "PerShareCommission", "PerTradeCommission", "PerContractCommission",
        "TieredCommission", "Tier", "MakerTakerCommission", "CallableCommission",
    ),
    "Slippage, borrowing and interest": (
        "NoSlippage", "PercentSlippage", "BasisPointsSlippage", "FixedSlippage", "SpreadSlippage", "VolumeShareSlippage",
        "NoBorrow", "AnnualBorrow", "NoInterest", "AnnualInterest",
    ),
    "Errors and warnings": (
        "NbBacktestError", "ConfigError", "DataError", "DataNotFoundError", "DataQualityWarning", "FeedError",
        "InvalidTransition", "JournalError", "LiveRunError", "MissingExtraError", "NoThreadsError", "OrderError", "OrderWarning", "ReplayError",
        "ScheduleError", "StrategyBlockedError", "StrategyError",
    ),
}  # fmt: skip
"""Every public name, by what it is for."""


def public_names(_: str) -> str:
    """Every public name with its first sentence; those that nobody has grouped come last."""
    grouped = {name for names in API.values() for name in names}
    rest = tuple(name for name in nb.__all__ if name not in grouped and not name.startswith("__"))
    parts = []
    for heading, names in (API | ({"More": rest} if rest else {})).items():
        rows = [[f"`nb.{name}`", _first_sentence(getattr(nb, name))] for name in names]
        parts.append(f"\n## {heading}\n\n{_table(['name', 'what it is'], rows)}")
    return "".join(parts) + "\n"


def _first_sentence(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n\n")[0].replace("\n", " ").replace("``", "`")


MAKERS: dict[str, Callable[[str], str]] = {
    "api": public_names,
    "answers": answers,
    "config": config_keys,
    "status-keys": status_keys,
    "status-example": status_example,
    "rules": lambda _: _rules(stats),
    "statistics": lambda _: _groups(GROUPS),
    "against-rules": lambda _: _rules(returns),
    "against": lambda _: _groups(AGAINST),
    "excursions-rules": lambda _: _rules(excursions),
    "excursions": lambda _: _section(excursions.Excursions),
    "monthly": lambda _: _section(returns.monthly_returns),
    "rolling": lambda _: _section(returns.rolling_statistics),
    "parts": lambda _: _section(stats.breakdown),
}
"""By name, what makes a part; each is given the part as it stands."""


def main() -> None:
    """Write every page whose parts have changed."""
    for page in sorted(FOLDER.glob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = filled(before)
        if after != before:
            page.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
