"""The pages as a site: built without a warning, whole, and asking nothing of the outside."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import nbbacktest as nb
from docs import build_pages, draw_pictures

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built pages; built once, with sphinx's warnings as errors."""
    for package in ("sphinx", "myst_nb", "furo"):
        pytest.importorskip(package, reason='the site needs the extra "docs": pip install -e ".[docs]"')
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(DOCS / "build_site.py"), str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "html"


class Loaded(HTMLParser):
    """What a page makes a browser fetch by itself, and where its links lead."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.titles = 0
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.titles += tag == "h1"
        if tag in {"script", "img", "iframe", "source", "video"} and given.get("src"):
            self.fetched.append(given["src"] or "")
        if tag == "link" and given.get("rel") not in {"canonical", "index", "search", "next", "prev"}:
            self.fetched.append(given.get("href") or "")
        if tag == "a" and given.get("href"):
            self.links.append(given["href"] or "")


def test_every_page_is_on_the_site(site: Path) -> None:
    """Pages, notebooks and public names each have a page with a title."""
    names = [name for name in nb.__all__ if not name.startswith("__")]
    pages = [page.stem for page in DOCS.glob("*.md")] + ["contributing", "changes", "test-plan"]
    notebooks = [notebook.stem for notebook in (ROOT / "notebooks").glob("[0-9]*.ipynb")]
    expected = [*pages, *(f"notebooks/{one}" for one in notebooks), *(f"api/{name}" for name in names)]
    missing = [page for page in expected if not (site / f"{page}.html").exists()]
    assert not missing
    assert all(Loaded(site / f"{page}.html").titles == 1 for page in expected)


def test_every_page_is_in_the_margin(site: Path) -> None:
    """The navigation, made from the index's tables, leads to every page."""
    links = set(Loaded(site / "index.html").links)
    pages = {f"{page.stem}.html" for page in DOCS.glob("*.md")} - {"index.html"}
    assert pages <= links


def test_the_site_asks_nothing_of_the_outside(site: Path) -> None:
    """No page makes a browser fetch anything but the site's own files."""
    for page in site.rglob("*.html"):
        loaded = Loaded(page)
        outside = [one for one in loaded.fetched if "//" in one and not one.startswith("data:")]
        assert not outside, page.name
        local = [one.partition("?")[0] for one in loaded.fetched if not one.startswith("data:")]
        assert all((page.parent / one).exists() for one in local if one), page.name
    assert "http" not in (site / "_static" / "site.css").read_text(encoding="utf-8")


def test_links_lead_to_what_is_there(site: Path) -> None:
    """A link to a page of the site leads to one, and to a place that it has."""
    places = {
        page: set(re.findall(r'\bid="([^"]+)"', page.read_text(encoding="utf-8"))) for page in site.rglob("*.html")
    }
    broken = []
    for page in places:
        for link in Loaded(page).links:
            if "//" in link or link.startswith("mailto:"):
                continue
            file, _, anchor = link.partition("#")
            target = (page.parent / file).resolve() if file else page
            if not target.exists() or (anchor and target in places and anchor not in places[target]):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert not broken


def test_notebooks_show_what_was_committed(site: Path) -> None:
    """Outputs are there without a kernel, and charts are drawn by the site's own plotly.js."""
    for notebook in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        page = (site / "notebooks" / f"{notebook.stem}.html").read_text(encoding="utf-8")
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", ())]
        charts = sum("application/vnd.plotly.v1+json" in output.get("data", {}) for output in outputs)
        assert page.count("Plotly.newPlot(") == charts
        assert "cell_output" in page


@pytest.mark.parametrize("name", draw_pictures.PICTURES)
def test_pictures_are_current(name: str) -> None:
    """A committed picture is what the code draws now; `python docs/draw_pictures.py` brings it up to date."""
    there = (DOCS / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
    assert there == draw_pictures.PICTURES[name]().text()


def test_the_picture_of_states_shows_the_whole_table() -> None:
    """Every transition of the table has its way in the picture, and its words beside it."""
    ways = draw_pictures.transitions()
    assert ways.keys() == draw_pictures.WAYS.keys()
    text = draw_pictures.states().text()
    assert all(word in text for words in ways.values() for word in words)


def test_pictures_can_be_read_in_light_and_dark() -> None:
    """Every class that a picture uses is coloured for light pages, and every colour again for dark ones."""
    light, _, dark = draw_pictures.STYLE.partition("@media (prefers-color-scheme: dark)")
    coloured = [set(re.findall(r"^(\S+) \{[^}]*(?:fill|stroke): #", style, re.MULTILINE)) for style in (light, dark)]
    used = {
        name
        for draw in draw_pictures.PICTURES.values()
        for names in re.findall(r'class="([^"]*)"', draw().text())
        for name in names.split()
    }
    assert used - {"name", "code"} <= {name.removeprefix(".") for name in coloured[0]} | {"small"}
    assert coloured[0] - {"text"} <= coloured[1] | {"text"}


def test_every_public_name_has_its_place_in_the_api() -> None:
    """Each public name stands in one group of the API page, and each of these is public."""
    grouped = [name for names in build_pages.API.values() for name in names]
    assert sorted(grouped) == sorted(name for name in nb.__all__ if not name.startswith("__"))
