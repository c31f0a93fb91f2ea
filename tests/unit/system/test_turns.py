"""Turns: each call is made once, when it is due, by whoever comes by."""

from __future__ import annotations

import asyncio

from nbbacktest.system.turns import Turns


def test_calls_are_made_in_the_order_in_which_they_are_due():
    """What isn't due waits, what is asked for meanwhile comes next time, and what raises harms nobody."""
    turns, made = Turns(), []

    def again():
        made.append("first")
        turns.later(0, lambda: made.append("again"))

    turns.later(0, again)
    turns.later(3600, lambda: made.append("never"))
    turns.later(0, lambda: 1 / 0)
    turns.later(0, lambda: made.append("second"))
    turns.take()
    assert made == ["first", "second"]
    turns.take()
    turns.take()
    assert made == ["first", "second", "again"]


def test_a_running_loop_comes_by():
    """For what is asked for while it runs, and on request for what was asked for before."""
    turns, made = Turns(), []
    turns.later(0, lambda: made.append("before"))

    async def session():
        turns.attend()
        arrived = asyncio.Event()
        turns.later(0, lambda: made.append("meanwhile"))
        turns.later(0.001, arrived.set)
        await asyncio.wait_for(arrived.wait(), 30)

    asyncio.run(session())
    assert made == ["before", "meanwhile"]
