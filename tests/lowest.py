"""The lowest versions that `pyproject.toml` allows, as pip's constraints: ``python tests/lowest.py``, or ``make lowest``.

Only what users install counts: the package's own dependencies and those of the extras below; test tools are new.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
EXTRAS = ("lab", "live", "samples")


def lowest() -> list[str]:
    """A pin for each direct dependency, at its lower bound; one without a bound is refused."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = list(project["dependencies"])
    wanted += [line for extra in EXTRAS for line in project["optional-dependencies"][extra]]
    pins = []
    for line in wanted:
        requirement = Requirement(line)
        bounds = [one.version for one in requirement.specifier if one.operator == ">="]
        if len(bounds) != 1:
            raise ValueError(f"pyproject.toml: {line!r} has no lower bound; write it as 'name>=version'")
        pins.append(f"{requirement.name}=={bounds[0]}" + (f" ; {requirement.marker}" if requirement.marker else ""))
    return pins


if __name__ == "__main__":
    print("\n".join(lowest()))
