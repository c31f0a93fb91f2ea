"""A table and the sentences below it: what every measurement gives to the report."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Table:
    """``rows`` hold texts; the first ``left`` columns are words, all others numbers. ``figures`` are for machines."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    left: int = 1
    figures: Any = None

    def markdown(self) -> str:
        """As a page has it."""
        rule = "|" + "---|" * self.left + "---:|" * (len(self.columns) - self.left)
        lines = [f"### {self.title}", "", "| " + " | ".join(self.columns) + " |", rule]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        for note in self.notes:
            lines += ["", note]
        return "\n".join(lines) + "\n"


def hand_over(tables: list[Table]) -> None:
    """The last line that a measuring process prints."""
    print(json.dumps([asdict(table) for table in tables]))


def received(output: str) -> list[Table]:
    """What such a process handed over."""
    return [Table(**each) for each in json.loads(output.strip().splitlines()[-1])]
