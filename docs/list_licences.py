"""Write ``docs/licences.md`` from what the installed packages declare: ``python docs/list_licences.py``.

Run it in an environment with the extra ``dev``, after a change of the dependencies.
"""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

PAGE = Path(__file__).with_name("licences.md")
PACKAGE = "nbbacktest"
FOR_USERS = ("lab", "live", "samples", "yfinance")
"""Extras beside the package alone; whoever runs backtests has them. `dev` and `docs` are for those who work on it."""

HEAD = """# Licences

nbbacktest itself is under the [Apache License 2.0](https://www.apache.org/licenses/LICENSE-2.0). These are the packages that are installed
with it, and what each declares as its own licence. `python docs/list_licences.py` makes this page.

Nothing that is installed for users is under the GPL, AGPL or LGPL; a test holds it to that. Of the tools for development, backtrader (GPL)
and backtesting.py (AGPL) are run by tests and benchmarks that compare results with theirs, and pyte (LGPL) reads terminals in tests; nothing
of them is part of this package.
"""

BY_HAND = {"ta-lib": "BSD-2-Clause", "yfinance": "Apache-2.0"}
"""Of packages that declare none, by their repository's LICENSE, and of those that may be missing here."""
SPDX = {
    "MIT License": "MIT", "MIT license": "MIT", "BSD": "BSD License", "Apache Software License": "Apache-2.0",
    "Apache 2.0": "Apache-2.0", "Apache License, Version 2.0": "Apache-2.0", "BSD 3-Clause License": "BSD-3-Clause",
    "BSD 2-Clause License": "BSD-2-Clause", "Simplified BSD": "BSD-2-Clause", "PSFL": "PSF-2.0",
    "ISC License (ISCL)": "ISC", "ISC license": "ISC", "GPLv3+": "GPL-3.0-or-later",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}  # fmt: skip


def canonical(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence_of(name: str) -> str:
    """What an installed package declares, as an SPDX expression where it can be told."""
    if name in BY_HAND:
        return BY_HAND[name]
    metadata = distribution(name).metadata
    expression = metadata.get("License-Expression")
    if expression:
        return expression
    words = (metadata.get("License") or "").strip()
    trove = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if line.startswith("License")]
    if not words or "\n" in words or words == "UNKNOWN" or len(words) > 40:
        words = ", ".join(trove)
    return SPDX.get(words, words) or "not declared"


def requirements(found: Distribution, extras: tuple[str, ...]) -> list[Requirement]:
    """What a package needs on this machine, with some of its extras."""
    every = [Requirement(line) for line in found.requires or ()]
    return [one for one in every if not one.marker or any(one.marker.evaluate({"extra": e}) for e in (*extras, ""))]


def needed(extras: tuple[str, ...]) -> set[str]:
    """All packages that an install with these extras brings, directly and not."""
    names: set[str] = set()
    waiting = [(PACKAGE, extras)]
    seen = set(waiting)
    while waiting:
        name, wanted = waiting.pop()
        try:
            found = distribution(name)
        except PackageNotFoundError:
            names |= {name} & BY_HAND.keys()
            continue
        names.add(name)
        new = {(canonical(one.name), tuple(sorted(one.extras))) for one in requirements(found, wanted)} - seen
        waiting += new
        seen |= new
    return names - {PACKAGE}


def direct(extras: tuple[str, ...] = ()) -> set[str]:
    """The packages that the project itself names."""
    return {canonical(one.name) for one in requirements(distribution(PACKAGE), extras)} - {PACKAGE}


def table(names: set[str], asked: set[str]) -> str:
    """A row a package; those that the project names are in bold."""
    cells = [(f"**{name}**" if name in asked else name, licence_of(name)) for name in sorted(names)]
    return "\n".join(["| package | licence |", "|---|---|", *(f"| {name} | {licence} |" for name, licence in cells)])


def page() -> str:
    """The whole page."""
    alone, users = needed(()), needed(FOR_USERS)
    asked = direct((*FOR_USERS, "dev", "docs", "parity"))
    sections = [
        ("With nbbacktest alone", alone),
        ("With the extras for users", users - alone),
        ("For development", needed(("dev", "docs")) - users),
    ]
    parts = [f"## {title}\n\n{table(names, asked)}\n" for title, names in sections]
    note = "In bold are those that nbbacktest asks for itself; the others come with them.\n"
    return "\n".join([HEAD, note, *parts])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
