"""What is computed from a record: each part once, and a fingerprint that is equal for equal results alone."""

from __future__ import annotations

import hashlib
import io
import struct
from collections import Counter
from dataclasses import replace

import pytest
from msgspec import structs
from rich.console import Console

from nbbacktest.report import analysis
from nbbacktest.report.analysis import RunAnalysis, fingerprint
from nbbacktest.report.document import document
from nbbacktest.report.result import Result
from nbbacktest.report.tearsheet import page
from nbbacktest.report.terminal import print_report
from nbbacktest.trading.equity import equity_curve
from nbbacktest.trading.stats import statistics
from tests.records import bars, minutes, run


def of(record):
    """A record's fingerprint."""
    return fingerprint(record, equity_curve(record))


@pytest.fixture
def record():
    """One purchase in three minutes."""
    return run([bars("A", minutes(3), [10, 11, 12])], [(1, "A", 2, 10.5)])


def test_it_is_a_hex_sha256(record):
    """64 hexadecimal digits, the same whoever asks."""
    assert len(int(Result(record).fingerprint, 16).to_bytes(32, "big")) == 32
    assert Result(record).fingerprint == of(record)


def test_it_ignores_how_the_run_was_driven(record):
    """Wall time, mode, name and log are no part of it."""
    driven = replace(record, metrics={"session_duration": 9}, name="other", log=((1, "S", "x"),), config={"speed": 3})
    assert of(driven) == of(record)


@pytest.mark.parametrize(
    "change",
    [
        {"price": 10.6},
        {"size": 3.0},
        {"commission": 1.0},
        {"tag": ""},
        {"strategy": "B"},
        {"order_id": 9},
        {"time_ns": 1},
    ],
)
def test_it_sees_every_field_of_a_fill(record, change):
    """No tag and an empty tag differ too."""
    assert of(replace(record, fills=(structs.replace(record.fills[0], **change),))) != of(record)


def test_it_sees_equity():
    """The same fills at other closes are another result."""
    fill = [(0, "A", 1, 10.0)]
    assert of(run([bars("A", minutes(2), [10, 11])], fill)) != of(run([bars("A", minutes(2), [10, 12])], fill))


def test_minus_zero_is_zero(record):
    """A commission of -0.0 is none."""
    negative = replace(record, fills=(structs.replace(record.fills[0], commission=-0.0),))
    assert of(negative) == of(record)


def test_its_bytes_are_the_documented_ones():
    """Recomputed here from the description."""
    record = run([bars("Ä", minutes(1), [10])], [(0, "Ä", 2, 10.0)])
    record = replace(record, fills=(structs.replace(record.fills[0], tag="t"),))

    def text(value):
        raw = value.encode()
        return struct.pack("<q", len(raw)) + raw

    fill = record.fills[0]
    raw = b"nbbacktest result 1\n" + struct.pack("<qqq", 1, 0, fill.time_ns) + text("Ä") + text("buy")
    raw += struct.pack("<dddq", 2.0, 10.0, 0.0, 1) + b"\1" + text("t") + text("Hand")
    raw += struct.pack("<qqd", 1, int(record.instants[0]), 10_000.0)
    assert of(record) == hashlib.sha256(raw).hexdigest()


def test_a_tag_that_is_no_valid_text_has_a_fingerprint(record):
    """A lone surrogate, as file names can hold, ends no report."""
    assert len(of(replace(record, fills=(structs.replace(record.fills[0], tag="\ud800"),)))) == 64


def test_statistics_share_what_the_run_has_computed():
    """Excursions are those of all trades, and the statistics take those of the closed ones out of them."""
    record = run(
        [bars("A", minutes(6), [10, 11, 9, 12, 5, 8])], [(1, "A", 2, 11.0), (3, "A", -2, 12.0), (3, "A", 1, 12.0)]
    )
    computed, alone = RunAnalysis(record), statistics(record)
    assert len(computed.excursions.mae) == 2
    assert computed.excursions.mae[1] < computed.excursions.mae[0]  # the open trade has fallen further
    assert {name: computed.stats[name] for name in ("average_mae", "average_mfe")} == {
        name: alone[name] for name in ("average_mae", "average_mfe")
    }


def test_what_all_faces_read_is_computed_once(monkeypatch):
    """Tearsheet, figure, document and terminal share one equity, one matching of trades and one set of statistics."""
    calls = Counter()

    def counted(name):
        original = getattr(analysis, name)

        def call(*args):
            calls[name] += 1
            return original(*args)

        return call

    for name in ("equity_curve", "round_trips", "statistics", "excursions"):
        monkeypatch.setattr(analysis, name, counted(name))
    columns = bars("A", minutes(4), [10.0, 11.0, 12.0, 11.0])
    result = Result(run([columns], [(1, "A", 1.0, 10.0), (2, "A", -1.0, 12.0)]))
    page(result.analysis)
    print_report(result.analysis, Console(file=io.StringIO()))
    assert document(result.analysis) == result.to_json()
    assert result.trades is not result.trades
    assert calls == {"equity_curve": 1, "round_trips": 1, "statistics": 1, "excursions": 1}
