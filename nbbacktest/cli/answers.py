"""What a command answered, printed: the message and its hint, or JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from nbbacktest.report.console import console


def show_answer(answer: dict[str, Any], *, as_json: bool = False) -> None:
    """Print an answer (as of `Answer.to_dict`); the JSON of `status` is the JSON status itself."""
    if as_json:
        whole = answer["data"] if answer["command"] == "status" else answer
        sys.stdout.write(json.dumps(whole, indent=2) + "\n")
        return
    out = console()
    out.print(answer["message"], markup=False, soft_wrap=True)
    if answer["hint"] is not None:
        out.print(answer["hint"], markup=False, soft_wrap=True, style="dim")
