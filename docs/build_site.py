"""Build the site from the pages as GitHub shows them: ``python docs/build_site.py [FOLDER]``, or ``make docs``.

Pages are laid out in ``FOLDER/source`` and built by sphinx, with warnings as errors, into ``FOLDER/html``. What differs
from the pages as they lie in the clone is made here: the navigation, which is the index's tables; a page for each
public name; links into the clone; and charts of notebooks, which are drawn by the copy of plotly.js that plotly ships.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

import plotly
from build_pages import WHAT_FIELDS_DONT_SAY
from pydantic import BaseModel

import nbbacktest as nb

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
OTHERS = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "tests/TEST_PLAN_SYNCHRONIZATION_AND_PAUSE.md": "test-plan.md",
}
"""Pages of the site that lie elsewhere in the clone; the README's place is the index's."""
LINK = re.compile(r"\]\((?P<file>[^)#:\s]+)(?P<anchor>#[^)\s]+)?\)")
PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


def places() -> dict[Path, str]:
    """Where on the site each file of the clone comes to lie."""
    found = {page: page.name for page in sorted(DOCS.glob("*.md"))}
    found |= {notebook: f"notebooks/{notebook.name}" for notebook in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))}
    found |= {picture: f"pictures/{picture.name}" for picture in sorted((DOCS / "pictures").iterdir())}
    return found | {ROOT / file: place for file, place in OTHERS.items()}


def lay_out(source: Path) -> None:
    """Write the site's pages into `source`; what is up to date there is left alone, so that sphinx does too."""
    wanted: dict[str, bytes] = {}
    where = places()
    for file, place in where.items():
        if file.name == "README.md":
            continue
        if file.suffix == ".md":
            wanted[place] = page(file, place, where).encode()
        elif file.suffix == ".ipynb":
            wanted[place] = notebook(file, place, where).encode()
        else:
            wanted[place] = file.read_bytes()
    wanted |= {f"api/{name}.md": of_name(name).encode() for name in public_names()}
    wanted |= {f"_static/{file.name}": file.read_bytes() for file in (DOCS / "_static").iterdir()}
    wanted["_static/plotly.min.js"] = PLOTLY.read_bytes()
    for old in source.rglob("*"):
        if old.is_file() and old.relative_to(source).as_posix() not in wanted:
            old.unlink()
    for place, content in wanted.items():
        target = source / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != content:
            target.write_bytes(content)


def page(file: Path, place: str, where: dict[Path, str]) -> str:
    """A page of Markdown as sphinx reads it."""
    text = relinked(file.read_text(encoding="utf-8"), file, place, where)
    text = re.sub(r"^```python \w+$", "```python", text, flags=re.MULTILINE)
    if place == "index.md":
        text = with_navigation(text)
    if place == "api.md":
        text = re.sub(r"^\| `nb\.(\w+)` ", r"| [`nb.\1`](api/\1.md) ", text, flags=re.MULTILINE)
        text += toctree("", [f"api/{name}" for name in public_names()])
    return text


def relinked(text: str, file: Path, place: str, where: dict[Path, str]) -> str:
    """`text` with links to where things lie on the site; what isn't there is named and not linked."""

    def link(found: re.Match[str]) -> str:
        target = (file.parent / found["file"]).resolve()
        if target not in where:
            return f"]{{{found['file']}}}" if target.exists() else found[0]
        way = os.path.relpath(where[target], PurePosixPath(place).parent)
        return f"]({PurePosixPath(way).as_posix()}{found['anchor'] or ''})"

    return re.sub(r"!?\[([^\]]*)\]\{[^}]*\}", r"\1", LINK.sub(link, text))


def with_navigation(index: str) -> str:
    """The index with a hidden toctree after each of its tables, under its heading, and one for pages in no table."""
    parts, listed = re.split(r"^(?=## )", index, flags=re.MULTILINE), {"index"}
    for number, part in enumerate(parts):
        rows = re.findall(r"^\| \[([^\]]*)\]\(([\w/-]+)\.(?:md|ipynb)\)", part, re.MULTILINE)
        if pages := [f"{title} <{page}>" for title, page in rows]:
            listed |= {page for _, page in rows}
            parts[number] = part.rstrip("\n") + "\n" + toctree(part.partition("\n")[0].removeprefix("## "), pages)
    others = sorted({page.stem for page in DOCS.glob("*.md")} - listed)
    return "".join(parts) + (toctree("More", others) if others else "")


def toctree(caption: str, pages: list[str]) -> str:
    """A toctree that is seen in the margin only."""
    options = [":hidden:", *([f":caption: {caption}"] if caption else ())]
    return "\n".join(["", "```{toctree}", *options, "", *pages, "```", "", ""])


def public_names() -> list[str]:
    """The names of the API page, in its order."""
    return re.findall(r"^\| `nb\.(\w+)` ", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE)


def of_name(name: str) -> str:
    """The page of one public name, from its docstrings; what comes from a base of the package counts as its own."""
    thing = getattr(nb, name)
    lines = [f".. autofunction:: nbbacktest.{name}"]
    after: list[str] = []
    if isinstance(thing, type):
        lines = [f".. autoclass:: nbbacktest.{name}", "   :members:"]
        if issubclass(thing, BaseModel):
            lines = [f"{lines[0]}(**fields)", *lines[1:], "   :exclude-members: model_config, model_post_init"]
            after = fields(thing)
        elif thing.__mro__[1].__module__.startswith("nbbacktest."):
            lines.append("   :inherited-members: Exception")
        if issubclass(thing, BaseException):
            lines = [lines[0].replace("autoclass", "autoexception"), *lines[1:], "   :show-inheritance:"]
    return "\n".join([f"# nb.{name}", "", "```{eval-rst}", *lines, "```", "", *after, ""])


def fields(model: type[BaseModel]) -> list[str]:
    """A config model's fields, as its schema describes them."""
    rows = []
    for name, field in model.model_fields.items():
        if name == "model":  # the class says it
            continue
        meaning = field.description or WHAT_FIELDS_DONT_SAY.get(name, "")
        default = (
            "required" if field.is_required() else "a section" if field.default_factory else f"`{field.default!r}`"
        )
        rows.append(f"| `{name}` | {default} | " + meaning.replace("``", "`").replace("|", r"\|") + " |")
    note = "A [session config](../config.md) writes it as JSON; each section's own keys are described there."
    return ["| field | default | meaning |", "|---|---|---|", *rows, "", note] if rows else []


def notebook(file: Path, place: str, where: dict[Path, str]) -> str:
    """A notebook as sphinx reads it: its links, and its plotly figures as a page that needs nothing from outside."""
    content = json.loads(file.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = relinked("".join(cell["source"]), file, place, where)
        for output in cell.get("outputs", ()):
            figure = output.get("data", {}).pop("application/vnd.plotly.v1+json", None)
            if figure is not None:
                output["data"]["text/html"] = chart(figure)
    return json.dumps(content, indent=1)


def chart(figure: dict[str, object]) -> str:
    """A figure's place on its page, drawn by the site's own copy of plotly.js."""
    from plotly.io import from_json, to_html

    drawn = to_html(
        from_json(json.dumps({k: figure[k] for k in ("data", "layout")})), full_html=False, include_plotlyjs=False
    )
    return f'<script src="../_static/plotly.min.js"></script>{drawn}'


def main() -> int:
    """Lay the pages out and build them; the status is sphinx's."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "docs").resolve()
    source, html = folder / "source", folder / "html"
    lay_out(source)
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "-a", "-c", str(DOCS)]
    command += ["-D", f"html_static_path={source / '_static'}"]
    status = subprocess.run([*command, str(source), str(html)], check=False).returncode
    if not status:
        print(f"The site is in {html}; its first page is {html / 'index.html'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
