"""The file of a journal: what is written is read, a torn end is dropped, and any other damage is refused with its place."""

from __future__ import annotations

import os
import random
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.files import append
from nbbacktest.system.journal.lines import (
    CutEntry,
    EndEntry,
    InputEntry,
    OriginEntry,
    SeriesFacts,
    StandEntry,
    StrategyFacts,
    line_of,
    parsed,
    read_journal,
)

ORIGIN = OriginEntry(
    version=1, run="20261130-181359-0123", at="2026-11-30T18:13:59Z", versions={"nbbacktest": "0.2", "numpy": "2.1"},
    config={"session_name": "Überfall", "broker": {"cash": 1e5}}, folder="/", data=None, is_handed=True, copies=[],
    bars=[SeriesFacts("EXE", "1m", 2, 1, 2, "ab")],
    strategies=[StrategyFacts("__main__:Mine", {"n": 3}, None, "cd", "class Mine: ...", None)],
    are_given=True,
)  # fmt: skip
STAND = StandEntry(cursor=5, horizon=9, inputs=0, line=0, fills=0, digest="e3")
BUY = InputEntry(
    keep=0, cursor=5, seq=1, what="buy", strategy=None, args={"symbol": "EXE", "size": 1.5}, by="python", at="now"
)
SOME = (
    ORIGIN, STAND, BUY,
    InputEntry(keep=1, cursor=6, seq=3, what="sell", strategy="Mine", args={"tag": "\ud83d"}, by="panel", at="now"),
    CutEntry(keep=1, cursor=6, seq=4, at="now"),
    EndEntry(how="failed", cursor=10, inputs=1, fingerprint="00", error="no\nmore", at="now"),
)  # fmt: skip


HERE = Path("journal")


def read(raw: bytes):
    return parsed(raw, HERE)


def written(*entries) -> bytes:
    return b"".join(map(line_of, entries))


def test_what_is_written_is_read():
    assert read(written(*SOME)).entries == SOME
    assert all(line.isascii() and line[8:9] == b" " for line in map(line_of, SOME))


def test_a_file_cut_at_any_byte_opens():
    """Law 8: all lines that are whole are there, and the torn one isn't."""
    raw = written(*SOME)
    for at in range(len(raw) + 1):
        found = read(raw[:at])
        assert found.entries == SOME[: raw[:at].count(b"\n")]
        assert found.size == sum(len(line_of(one)) for one in found.entries)


def check_flip(raw, entries, place, bit):
    flipped = bytearray(raw)
    flipped[place] ^= 1 << bit
    if place == len(raw) - 1:  # the end of the last line: it reads as a torn one
        assert read(bytes(flipped)).entries == entries[:-1]
        return
    with pytest.raises(nb.JournalError) as refused:
        read(bytes(flipped))
    assert refused.value.line == raw[:place].count(b"\n") + 1


def test_every_flipped_bit_of_a_small_journal_is_refused():
    """Law 8: or it reads as the torn tail."""
    raw = written(*SOME)
    for place in range(len(raw)):
        for bit in range(8):
            check_flip(raw, SOME, place, bit)


def test_flipped_bits_of_a_long_journal_are_refused():
    stands = [StandEntry(cursor=n, horizon=n, inputs=0, line=0, fills=n, digest=f"{n:064x}") for n in range(2_000)]
    raw, dice = written(ORIGIN, *stands), random.Random(3)
    assert len(read(raw).entries) == 2_001
    for _ in range(200):
        check_flip(raw, (ORIGIN, *stands), dice.randrange(len(raw)), dice.randrange(8))


@given(st.binary(max_size=60), st.integers(0, 5))
def test_nothing_but_a_journal_is_read(junk, whole):
    """Any bytes behind whole lines are a torn line, or refused."""
    try:
        found = read(written(*SOME[:whole]) + junk)
    except nb.JournalError:
        assert b"\n" in junk
    else:
        assert found.entries == SOME[:whole]


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_like, max_size=4))
def test_arguments_come_back_as_they_were(args):
    entry = InputEntry(keep=0, cursor=0, seq=1, what="change", strategy=None, args=args, by="x", at="y")
    assert read(written(ORIGIN, entry)).entries[1] == entry


def line(text: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(text), text)


@pytest.mark.parametrize(
    ("raw", "number", "why"),
    [
        (line(b'{"kind":"origin","version":2,"versions":{"nbbacktest":"9.1"}}'), 1, "format 2.*9.1"),
        (line(b'{"kind":"origin","version":[1],"versions":7}'), 1, "format"),
        (line(b"[1, 2]"), 1, "no line of a journal"),
        (line(b"[" * 100_000), 1, "no line of a journal"),
        (line(b'{"kind":"origin"}'), 1, "missing required field"),
        (line(b'{"kind":"strange"}'), 1, "strange"),
        (written(STAND), 1, "another place than the first line"),
        (written(ORIGIN, ORIGIN), 2, "another place than the first line"),
        (written(ORIGIN) + line(b'{"kind":"stand","cursor":-1}'), 2, "no line of a journal"),
        (written(ORIGIN, CutEntry(keep=1, cursor=0, seq=1, at="")), 2, "missing"),
        (written(ORIGIN, BUY, BUY), 3, "missing"),
        (b"time,open,high,low,close\n2024-01-01,1,1,1,1\n", 1, "no journal"),
        (b"\0" * 90 + b"\n", 1, "no journal"),
    ],
)  # fmt: skip
def test_what_is_no_journal_is_refused_with_its_line(raw, number, why):
    with pytest.raises(nb.JournalError, match=why) as refused:
        read(raw)
    assert (refused.value.line, refused.value.path) == (number, HERE)
    assert str(HERE) in str(refused.value)
    assert refused.value.cure in str(refused.value)


def test_what_cant_be_read_is_said(tmp_path):
    with pytest.raises(nb.JournalError, match="isn't there"):
        read_journal(tmp_path / "none")
    with pytest.raises(nb.JournalError, match="is no file"):
        read_journal(tmp_path)
    with pytest.raises(nb.JournalError, match="is empty"):
        _ = read(b"").origin


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_no_journal(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(nb.JournalError, match="is no file"):
        read_journal(tmp_path / "pipe")


def test_another_users_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "journal"
    path.write_bytes(written(*SOME))
    assert read_journal(path).entries == SOME

    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(path), "read_bytes", denied)
    with pytest.raises(nb.JournalError, match="can't be read: Permission denied"):
        read_journal(path)


def test_appending_writes_all_and_syncs_if_asked(tmp_path, monkeypatch):
    """A system call may write a part only."""
    synced = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:3]))
    monkeypatch.setattr(os, "fdatasync", synced.append, raising=False)
    descriptor = os.open(tmp_path / "f", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    append(descriptor, b"0123456789", sync=False)
    assert synced == []
    append(descriptor, b"abcd", sync=True)
    assert synced == [descriptor]
    os.close(descriptor)
    assert (tmp_path / "f").read_bytes() == b"0123456789abcd"
