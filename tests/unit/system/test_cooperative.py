"""The call queue of a host without threads: each call is made once, when it is due."""

from __future__ import annotations

import asyncio

from nbbacktest.system.cooperative import CallQueue


def test_calls_are_made_in_the_order_in_which_they_are_due():
    """What isn't due waits, what is added meanwhile is made next time, and what raises harms no other call."""
    calls, made = CallQueue(), []

    def again():
        made.append("first")
        calls.call_later(0, lambda: made.append("again"))

    calls.call_later(0, again)
    calls.call_later(3600, lambda: made.append("never"))
    calls.call_later(0, lambda: 1 / 0)
    calls.call_later(0, lambda: made.append("second"))
    calls.make_due()
    assert made == ["first", "second"]
    calls.make_due()
    calls.make_due()
    assert made == ["first", "second", "again"]


def test_a_running_loop_makes_the_calls():
    """Those that are added while it runs, and on request those that were added before."""
    calls, made = CallQueue(), []
    calls.call_later(0, lambda: made.append("before"))

    async def session():
        calls.attach_loop()
        arrived = asyncio.Event()
        calls.call_later(0, lambda: made.append("meanwhile"))
        calls.call_later(0.001, arrived.set)
        await asyncio.wait_for(arrived.wait(), 30)

    asyncio.run(session())
    assert made == ["before", "meanwhile"]
