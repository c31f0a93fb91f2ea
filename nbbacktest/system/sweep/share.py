"""How a bench comes to workers: written once to a file that they map into memory, the bars being read by none of them.

A thread finds it in the process; another machine, which sees no such file, is sent it with its work.
"""

from __future__ import annotations

import mmap
import pickle
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nbbacktest.core.errors import ConfigError, Problem
from nbbacktest.system.sweep.bench import Bench, Row

_ALIGNED = 64
_HEAD = 8

_held: dict[str, Bench] = {}
"""By token: those that this process sweeps itself, and in a worker the last that it was given."""
_holding = threading.Lock()  # guards its changes


class Ticket(NamedTuple):
    """Where a worker finds the bench of a sweep.

    Attributes
    ----------
    token : str
        The sweep's own.
    path : str
        Of the file, on the machine that sweeps.
    content : bytes or None
        The file's, for machines that don't have it.
    """

    token: str
    path: str
    content: bytes | None = None


def packed(bench: Bench) -> bytes:
    """The bench as a file's content: a head, then the arrays, each where a mapped page lets it be used as it is.

    Raises
    ------
    ConfigError
        Where something of it can't be pickled.
    """
    import cloudpickle  # carries classes that notebooks and functions define

    buffers: list[pickle.PickleBuffer] = []
    try:
        body = cloudpickle.dumps(bench, protocol=5, buffer_callback=buffers.append)
    except Exception as error:
        cure = (
            f"can't be sent to other processes ({type(error).__name__}: {error}); leave such things out of what the "
            "strategy refers to, or sweep with threads: executor=concurrent.futures.ThreadPoolExecutor()"
        )
        raise ConfigError([Problem("strategy", bench.strategy, cure)], "sweep()") from error
    raws = [buffer.raw() for buffer in buffers]
    sizes = [raw.nbytes for raw in raws]
    head = pickle.dumps((body, sizes))
    parts: list[bytes | memoryview] = [len(head).to_bytes(_HEAD, "little"), head]
    place = _HEAD + len(head)
    for raw in raws:
        gap = -place % _ALIGNED
        parts += [bytes(gap), raw]
        place += gap + raw.nbytes
    return b"".join(parts)


def unpacked(content: mmap.mmap | bytes) -> Bench:
    """The bench of a file's content, its arrays being views of that, not to be written to."""
    view = memoryview(content)
    place = _HEAD + int.from_bytes(view[:_HEAD], "little")
    body, sizes = pickle.loads(view[_HEAD:place])  # noqa: S301 - of this user's own making
    buffers = []
    for size in sizes:
        place += -place % _ALIGNED
        buffers.append(view[place : place + size])
        place += size
    bench: Bench = pickle.loads(body, buffers=buffers)  # noqa: S301 - as above
    return bench


def hold(token: str, bench: Bench) -> None:
    """Have it at hand for threads of this process."""
    with _holding:
        _held[token] = bench


def release(token: str) -> None:
    """Forget it."""
    with _holding:
        _held.pop(token, None)


def work(ticket: Ticket, points: Sequence[Mapping[str, Any]]) -> list[Row] | None:
    """What a worker does: play these points. None where it has no access to the file."""
    bench = _held.get(ticket.token)
    if bench is None:
        bench = _fetched(ticket)
        if bench is None:
            return None
        with _holding:
            _held.clear()
            _held[ticket.token] = bench
    return [bench.play(point) for point in points]


def _fetched(ticket: Ticket) -> Bench | None:
    if ticket.content is not None:
        return unpacked(ticket.content)
    try:
        with Path(ticket.path).open("rb") as file:
            return unpacked(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError:
        return None
