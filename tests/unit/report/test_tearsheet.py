"""The one-file report: complete, bounded, offline, and what is in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from nbbacktest.core.enums import OrderStatus, OrderType, Side
from nbbacktest.core.errors import DataError, DataNotFoundError
from nbbacktest.report import tearsheet
from nbbacktest.report.result import Result
from nbbacktest.report.tearsheet import MOST_REJECTED, MOST_TRADES
from nbbacktest.trading.orders import Order
from tests.records import bars, daily_bars, minutes, run

CONFIG = {"session_name": "<config>", "broker": {"cash": 10_000}}


def rejected(count, record):
    """Orders that were refused, each with a reason."""
    orders = []
    for number in range(1, count + 1):
        order = Order(
            number, "Hand", "A", Side.BUY, 5.0, OrderType.LIMIT, limit=3.0, submitted_ns=int(record.instants[0])
        )
        order.status, order.reason, order.closed_ns = (
            OrderStatus.REJECTED,
            f"too <dear> {number}",
            int(record.instants[1]),
        )
        orders.append(order)
    return tuple(orders)


@pytest.fixture(scope="module")
def result():
    """A quarter of days of two symbols, some trades, one refusal, a name with markup in it."""
    rng = np.random.default_rng(1)
    closes = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 90)))
    columns = [daily_bars("A", closes), daily_bars("B", closes[::-1])]
    fills = [(2, "A", 10, 100.0), (20, "A", -10, 104.0), (30, "B", -5, 90.0), (40, "B", 5, 95.0), (50, "A", 1, 99.0)]
    record = run(columns, fills, commission=0.001, config=CONFIG, name="<b>Bold</b>", synthetic=True, source="seed 7")
    return Result(run(columns, fills, commission=0.001, config=CONFIG, name="<b>Bold</b>", synthetic=True,
                      source="seed 7", orders=(*record.orders, *rejected(1, record))))  # fmt: skip


class Page(HTMLParser):
    """What a browser would see: links, scripts' addresses, styles, texts by tag."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.styles, self.texts, self.policy = [], [], [], ""
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self._tag = tag
        self.loads += [given[name] for name in ("src", "href", "srcset", "data", "action") if given.get(name)]
        self.styles.append(given.get("style") or "")
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]

    def handle_data(self, data):
        if self._tag == "style":
            self.styles.append(data)
        elif self._tag != "script" and data.strip():
            self.texts.append(data.strip())


@pytest.fixture(scope="module")
def page(result, tmp_path_factory):
    """The page as a browser would read it."""
    path = result.report(tmp_path_factory.mktemp("report") / "report.html", "B")
    return Page(path.read_text(encoding="utf-8"))


def test_the_file_loads_nothing(page):
    """No address anywhere that a browser would fetch, and a policy that forbids it to."""
    assert page.loads == []
    assert not [style for style in page.styles if "url(" in style or "@import" in style]
    assert page.policy.startswith("default-src 'none';")
    assert "http" not in page.policy


def test_the_file_is_about_five_megabytes_and_says_so(result, page, tmp_path):
    """Nearly all of it is the chart library; the size is stated in it."""
    path = result.report(tmp_path / "report.html")
    size = path.stat().st_size
    assert 3e6 < size < 8e6
    assert f"This file is {size / 1e6:.1f} MB" in re.sub(r"is +", "is ", path.read_text(encoding="utf-8"))


def test_every_part_is_there(page):
    """Headings, statistics and labels of all groups, the months, the parts, the trades, the refusal, the config."""
    for text in (
        "Statistics", "Net return by month", "By symbol", "Trades", "Orders rejected or expired", "Session config",
        "Sharpe", "Alpha a year", "Beta", "Benchmark: B", "Average MAE", "too <dear> 1", "Reason", "MFE", "open",
    ):  # fmt: skip
        assert text in page.texts, text
    assert any("<config>" in text for text in page.texts)
    assert any("Hand()" in text for text in page.texts)


def test_invented_bars_are_called_so_plainly(page):
    """By a notice of its own, and in the line of the source."""
    assert "Synthetic data." in page.texts
    assert "Data: synthetic data (seed 7)" in page.texts


def test_what_users_wrote_is_text(page, result, tmp_path):
    """A session's name and an order's reason can't put markup into the page."""
    assert page.texts.count("<b>Bold</b>") >= 1
    text = result.report(tmp_path / "x.html").read_text(encoding="utf-8")
    assert "<b>Bold</b>" not in text
    assert "<dear>" not in text


def test_equal_results_make_equal_files(result, tmp_path):
    """The page holds no clock and no random name."""
    one, two = result.report(tmp_path / "1"), Result(result.record).report(tmp_path / "2")
    assert one.read_bytes() == two.read_bytes()


def test_both_lights_and_small_screens_are_served(page):
    """One page for light and dark, wide and narrow, and paper."""
    style = "".join(page.styles)
    for part in ("prefers-color-scheme: dark", "max-width: 640px", "@media print"):
        assert part in style


def test_long_tables_are_capped_with_a_note(tmp_path):
    """The newest rows are shown, and the note says how many there are and where."""
    count = MOST_TRADES + 10
    fills = [(n, "A", 1.0 if n % 2 else -1.0, 10.0) for n in range(1, 2 * count + 1)]
    record = run([bars("A", minutes(2 * count + 2), np.full(2 * count + 2, 10.0))], fills)
    result = Result(run(list(record.bars.values()), fills, orders=rejected(MOST_REJECTED + 3, record)))
    page = Page(result.report(tmp_path / "x.html").read_text(encoding="utf-8"))
    trades = len(result.trades)
    assert f"The newest {MOST_TRADES:,} of {trades:,} trades; all of them are in result.trades." in page.texts
    assert (
        f"The newest {MOST_REJECTED:,} of {MOST_REJECTED + 3:,} orders; all of them are in result.orders." in page.texts
    )
    assert page.texts.count("rejected") == MOST_REJECTED
    assert f"too <dear> {MOST_REJECTED + 3}" in page.texts
    assert "too <dear> 1" not in page.texts


def test_an_empty_run_has_a_report(tmp_path):
    """Nothing to show is no error, and no chart library is needed for it."""
    page = Page(Result(run([])).report(tmp_path / "x.html").read_text(encoding="utf-8"))
    assert "No instant was completed, so there is nothing to draw or to measure." in page.texts
    assert "There was none." in page.texts


def test_ruin_and_errors_are_said(tmp_path):
    """What a reader must know before any number."""
    record = run([daily_bars("A", [10, 30])], [(0, "A", -1_000, 10.0)], metrics={"error": {"message": "it <broke>"}})
    page = Page(Result(record).report(tmp_path / "x.html").read_text(encoding="utf-8"))
    assert "Equity fell to zero or below." in page.texts
    assert "it <broke>" in page.texts


def test_a_missing_folder_is_named(result, tmp_path):
    """The error says which folder to make."""
    with pytest.raises(DataNotFoundError, match="there is no folder .*absent; make it first"):
        result.report(tmp_path / "absent" / "x.html")


def test_a_failing_write_leaves_the_old_file_and_nothing_else(result, tmp_path, monkeypatch):
    """A benchmark that doesn't fit, or a full disk, loses nothing."""
    path = tmp_path / "x.html"
    path.write_text("old")
    with pytest.raises(DataError, match="no symbol of the run"):
        result.report(path, "C")

    def full(path, write):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tearsheet, "write_whole", full)
    with pytest.raises(OSError, match="No space left"):
        result.report(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
