"""Remote control: commands to a run of another process of the same user, from a client to the run's control server."""

from nbbacktest.core.errors import AmbiguousSessionError, NoSessionError, RemoteCommandError, RemoteError
from nbbacktest.system.remote.client import Client, reach, sessions
from nbbacktest.system.remote.registry import SessionEntry

__all__ = [
    "AmbiguousSessionError",
    "Client",
    "NoSessionError",
    "RemoteCommandError",
    "RemoteError",
    "SessionEntry",
    "reach",
    "sessions",
]
