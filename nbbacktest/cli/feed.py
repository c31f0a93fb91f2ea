"""The command line's `feed` commands: bars for live runs."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from cyclopts import App

from nbbacktest.core.formats import printed
from nbbacktest.display.terminal_input import leaving_in_order
from nbbacktest.grammar import Whole

TOKEN = "NBBACKTEST_FEED_TOKEN"  # noqa: S105 - the variable's name, not a token
"""The environment variable with the server's token."""

feed = App(name="feed", help="Bars for live runs.", help_format="plaintext", result_action="return_value")


@feed.command
def serve(
    config: str, /, *, port: Whole = 8765, speed: float = 1.0, token_file: Path | None = None, host: str = "127.0.0.1"
) -> int:
    """Replay a session's bars to live runs over a WebSocket, until Ctrl-C.

    Parameters
    ----------
    config
        A session config, a JSON file: its data and dates say which bars.
    port
        Where to listen; 0 takes any that is free.
    speed
        Seconds of open market a second: 1 is real time, 60 a minute a second, 0 as fast as each client takes it.
    token_file
        A file with the token that clients must show; without it, the environment variable NBBACKTEST_FEED_TOKEN.
    host
        The address to listen on; others than this machine's own need a token.
    """
    from nbbacktest.system.feeds.server import serve as start
    from nbbacktest.system.live_builder import read_token

    token = read_token(token_file, "--token-file") if token_file is not None else os.environ.get(TOKEN) or None
    with leaving_in_order(), start(config, port=port, speed=speed, token=token, host=host) as server:
        guarded = "with a token" if token is not None else "without a token"
        sys.stdout.write(printed(f"serving {config} at {server.url}, {guarded}; Ctrl-C ends it") + "\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            server.wait()
    return 0
