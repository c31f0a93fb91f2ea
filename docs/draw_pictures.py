"""Draw the pictures of these pages from the code: ``python docs/draw_pictures.py``; a test holds each to it.

Every picture is an SVG on a card of its own, with colours for light and for dark pages.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from nbbacktest.core.enums import SystemState
from nbbacktest.core.lifecycle import TABLE, Command

FOLDER = Path(__file__).parent / "pictures"

STYLE = """
.card { fill: #ffffff; stroke: #d0d7de; }
.box { fill: #eef4fc; stroke: #1257b8; stroke-width: 1.5; }
.done { fill: #1257b8; stroke: #1257b8; }
.ready { fill: #cfe1fa; stroke: #1257b8; }
.ahead { fill: #ffffff; stroke: #9aa6b5; }
.line { fill: none; stroke: #57606a; stroke-width: 1.5; }
.arrow { fill: #57606a; }
.cursor { stroke: #b35900; stroke-width: 2.5; fill: none; }
.limit { stroke: #c2255c; stroke-width: 2.5; fill: none; }
text { font: 14px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1f2328; }
.name { font-weight: 600; }
.small { font-size: 12.5px; fill: #57606a; }
.code { font: 13px ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; }
.of-cursor { fill: #964b00; font-weight: 600; }
.of-limit { fill: #b01e50; font-weight: 600; }
@media (prefers-color-scheme: dark) {
.card { fill: #161b22; stroke: #30363d; }
.box { fill: #1c2a3f; stroke: #7ab4ff; }
.done { fill: #7ab4ff; stroke: #7ab4ff; }
.ready { fill: #24405f; stroke: #7ab4ff; }
.ahead { fill: #161b22; stroke: #6e7681; }
.line { stroke: #9198a1; }
.arrow { fill: #9198a1; }
.cursor { stroke: #ffa657; }
.limit { stroke: #ff7eb6; }
text { fill: #e6edf3; }
.small { fill: #9198a1; }
.of-cursor { fill: #ffa657; }
.of-limit { fill: #ff7eb6; }
}
"""

HEAD = (
    '<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
    '<path class="arrow" d="M 0 0 L 10 5 L 0 10 z"/></marker>'
)
"""An arrow's."""


class Picture:
    """A card to draw on; `text` gives what was drawn as an SVG."""

    def __init__(self, width: int, height: int, says: str) -> None:
        self._size, self._says = (width, height), says
        self._parts: list[str] = []

    def box(self, x: float, y: float, width: float, height: float, kind: str = "box", radius: float = 8) -> None:
        """A rectangle with round corners."""
        self._parts.append(
            f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}"/>'
        )

    def words(self, x: float, y: float, words: str, kind: str = "", anchor: str = "middle") -> None:
        """A line of text; `y` is its base line."""
        self._parts.append(f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>')

    def way(self, path: str, kind: str = "line", *, arrow: bool = True) -> None:
        """A line along an SVG path, with a head at its end."""
        head = ' marker-end="url(#head)"' if arrow else ""
        self._parts.append(f'<path class="{kind}" d="{path}"{head}/>')

    def text(self) -> str:
        """The whole file."""
        width, height = self._size
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
            f"<title>{escape(self._says)}</title>",
            f"<style>{STYLE}</style>",
            f"<defs>{HEAD}</defs>",
            f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="10"/>',
            *self._parts,
            "</svg>",
            "",
        ])  # fmt: skip


# -- states -------------------------------------------------------------------------------------------------

STOPPED, RUNNING, PAUSED = SystemState.STOPPED, SystemState.RUNNING, SystemState.PAUSED
REPORTS = {
    Command.REST: "a step or run_until is there",
    Command.FINISH: "the data ends",
    Command.FAIL: "a strategy or a stage fails",
}
"""What the engine says by itself, in words."""

WAYS: dict[tuple[SystemState, SystemState], tuple[str, float, float]] = {
    (STOPPED, RUNNING): ("M 172 158 H 388", 280, 148),
    (RUNNING, STOPPED): ("M 388 192 H 172", 280, 212),
    (RUNNING, PAUSED): ("M 532 158 H 748", 640, 110),
    (PAUSED, RUNNING): ("M 748 192 H 532", 640, 212),
    (RUNNING, RUNNING): ("M 425 140 C 405 60, 515 60, 495 140", 460, 18),
    (PAUSED, PAUSED): ("M 785 140 C 765 60, 875 60, 855 140", 820, 18),
    (STOPPED, PAUSED): ("M 135 210 C 135 320, 785 320, 785 214", 460, 282),
    (PAUSED, STOPPED): ("M 820 210 C 820 375, 100 375, 100 214", 460, 355),
}
"""Between each two states: the way, and where the first of its words stand."""


def transitions() -> dict[tuple[SystemState, SystemState], list[str]]:
    """What leads from each state to another, from the table."""
    words: dict[tuple[SystemState, SystemState], list[str]] = {}
    for (before, command), after in TABLE.items():
        words.setdefault((before, after), []).append(REPORTS.get(command, f"{command}()"))
    return words


def states() -> Picture:
    """All transitions of the table."""
    picture = Picture(920, 375, "The three states of a run, and what leads from one to another")
    for state, x in ((STOPPED, 30), (RUNNING, 390), (PAUSED, 750)):
        picture.box(x, 140, 140, 70)
        picture.words(x + 70, 180, state.name, "name")
    for pair, words in transitions().items():
        path, x, y = WAYS[pair]
        picture.way(path)
        lines = words if pair != (PAUSED, STOPPED) else [", ".join(words)]
        for number, line in enumerate(lines):
            picture.words(x, y + 19 * number, line, "code" if "(" in line and "," not in line else "")
    return picture


# -- threads ------------------------------------------------------------------------------------------------

STAGES = (
    ("SessionCoordinator", "how far may time go?", "nbbacktest-coordinator"),
    ("DataProcessor", "which bars are these?", "nbbacktest-processor"),
    ("AnalysisEngine", "broker and strategies", "nbbacktest-analysis"),
)


def threads() -> Picture:
    """The three threads, what they hand over, and who commands them."""
    picture = Picture(
        920, 300, "Three threads: the coordinator, the processor and the analysis, joined by two subscriptions"
    )
    for number, (name, asks, thread) in enumerate(STAGES):
        x = 25 + 325 * number
        picture.box(x, 35, 220, 92)
        picture.words(x + 110, 65, name, "name")
        picture.words(x + 110, 87, asks)
        picture.words(x + 110, 110, thread, "small code")
        if number:
            picture.way(f"M {x - 103} 65 H {x - 3}")
            picture.words(x - 53, 54, "windows" if number == 1 else "bars")
            picture.way(f"M {x - 3} 100 H {x - 103}")
            picture.words(x - 53, 121, "ready")
    picture.box(350, 205, 220, 62, "ahead")
    picture.words(460, 231, "the gate", "name of-limit")
    picture.words(460, 252, "cursor < limit", "code")
    picture.way("M 785 130 V 236 H 573")
    picture.words(680, 226, "asks at each instant", "small")
    picture.way("M 135 130 V 236 H 347")
    picture.words(240, 226, "plans from the cursor", "small")
    picture.words(460, 181, "pause()  step()  run_until()  set_speed()  stop()", "code")
    picture.way("M 460 187 V 202")
    return picture


# -- the window, the cursor, the gate -----------------------------------------------------------------------

SIDE, GAP, LEFT = 26, 6, 150


def instants(picture: Picture, y: float, done: int, ready: int, count: int) -> None:
    """A row of instants: completed ones, those of the window, those beyond."""
    for number in range(count):
        kind = "done" if number < done else "ready" if number < ready else "ahead"
        picture.box(edge(number), y, SIDE, SIDE, kind, 4)


def edge(number: float) -> float:
    """Where an instant begins."""
    return LEFT + number * (SIDE + GAP)


def border(number: int) -> float:
    """Between an instant and the one before."""
    return edge(number) - GAP / 2


def window() -> Picture:
    """Where the cursor stands in a window, and what a strategy sees."""
    picture = Picture(920, 215, "A window of instants: the strategies see what lies before the cursor")
    instants(picture, 90, 9, 14, 22)
    picture.words(135, 108, "instants", anchor="end")
    picture.way(f"M {border(9):g} 66 V 140", "cursor", arrow=False)
    picture.words(border(9), 56, "the cursor", "of-cursor")
    picture.way(f"M {edge(6):g} 80 V 74 H {border(14) - 3:g} V 80", arrow=False)
    picture.words(edge(12.1), 66, "the window under way", "small", "start")
    picture.way(f"M {border(9) - 4:g} 150 H {edge(0):g}")
    picture.words(edge(4.5), 172, "seen: bars(), indicators, orders,")
    picture.words(edge(4.5), 191, "equity, snapshot(), status()")
    picture.way(f"M {border(9) + 4:g} 150 H {edge(14) - GAP:g}")
    picture.words(edge(9) + 4, 172, "prepared, and out of sight", anchor="start")
    picture.words(edge(9) + 4, 191, "a pause between any two of them is exact", "small", "start")
    return picture


GATES = (
    ("resume()", 5, None, "the limit is", "beyond the last instant"),
    ("pause()", 8, 8, "the limit is taken", "to the cursor: at rest"),
    ("step(2)", 8, 10, "two further,", "then at rest again"),
    ("run_until(when)", 10, 14, "as far as that time;", "a condition is asked at each"),
    ("stop()", 14, None, "closed: every wait wakes,", "the run ends"),
)
"""Each command, where the cursor and the limit stand at that moment, and what that means."""


def gate() -> Picture:
    """Each command as a limit."""
    picture = Picture(920, 385, "Pause, step, run_until and stop are a limit that the cursor stays below")
    for number, (command, cursor, limit, *says) in enumerate(GATES):
        y = 34 + 66 * number
        instants(picture, y, cursor, cursor, 16)
        picture.words(20, y + 18, command, "code", "start")
        picture.words(edge(16) + 12, y + 10, says[0], "small", "start")
        picture.words(edge(16) + 12, y + 27, says[1], "small", "start")
        picture.way(f"M {border(cursor):g} {y - 6} V {y + SIDE + 6}", "cursor", arrow=False)
        if limit is not None:
            shift = 5 if limit == cursor else 0
            picture.way(f"M {border(limit) + shift:g} {y - 12} V {y + SIDE + 12}", "limit", arrow=False)
    picture.words(edge(0), 368, "| the cursor", "of-cursor", "start")
    picture.words(edge(4), 368, "| the limit", "of-limit", "start")
    return picture


PICTURES = {"states": states, "threads": threads, "window": window, "gate": gate}


def main() -> None:
    """Write every picture."""
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(draw().text(), encoding="utf-8")


if __name__ == "__main__":
    main()
