"""The sections of the session config for live runs and for lag."""

from __future__ import annotations

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from nbbacktest.core.model import Model, RefusedError

_DAY_SECONDS = 86_400


class LiveConfig(Model):
    """The source of a live run's bars, and the time that the run waits for them; `mode` must be "live"."""

    feed: Literal["push", "websocket"] = Field(
        "push", description="push: the program that starts the run gives a feed; websocket: a server at url"
    )
    url: str | None = Field(None, description="websocket: the server, such as ws://127.0.0.1:8765; no secrets in it")
    token_env: str | None = Field(None, min_length=1, description="websocket: environment variable that has the token")
    token_file: str | None = Field(None, min_length=1, description="websocket: file that has the token")
    grace_seconds: float = Field(
        2.0, ge=0, description="how long a bar waits for other symbols' before its instant goes on without them"
    )
    stale_seconds: float = Field(30.0, gt=0, description="silence after which the feed is called stale")
    future_seconds: float = Field(
        5.0, ge=0, description="how far a bar's end may lie ahead of the feed's clock before it is refused"
    )
    reconnect_seconds: tuple[float, ...] = Field(
        (0.5, 30.0), min_length=2, max_length=2, description="websocket: first and longest wait between two attempts"
    )

    @field_validator("url")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        if url is not None:
            check_url(url)
        return url

    @field_validator("reconnect_seconds")
    @classmethod
    def _rising(cls, seconds: tuple[float, ...]) -> tuple[float, ...]:
        check_waits(seconds)
        return seconds

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.feed == "websocket" and self.url is None:
            raise RefusedError("url", None, "feed 'websocket' needs a server, such as ws://127.0.0.1:8765")
        if self.token_env is not None and self.token_file is not None:
            raise RefusedError("token_file", self.token_file, "token_env names the token already; keep one of them")
        return self


class LagConfig(Model):
    """The lag from which on a symbol counts as lagging; clock-driven and live runs use it, data-driven ones don't."""

    threshold_seconds: float = Field(5.0, gt=0, description="wall seconds behind from which on a symbol lags")
    check_interval_seconds: float = Field(1.0, gt=0, description="wall seconds between two looks")


def check_url(url: str) -> None:
    """Refuse a text that is no WebSocket address, or that has a secret in it.

    Raises
    ------
    ValueError
    """
    try:
        parts = urlsplit(url)
        named = parts.scheme in ("ws", "wss") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        named = False
    if not named:
        raise ValueError(
            "is no WebSocket address; write one such as ws://127.0.0.1:8765 or wss://feed.example.com/bars"
        )
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "has a user or password in it, which logs would show; name the token by token_env or token_file"
        )


def clean_token(text: str) -> str:
    """A token as it was written, without the line end, spaces and byte order mark around it.

    Raises
    ------
    ValueError
        If that can't be a token. The message doesn't show it.
    """
    if not isinstance(text, str):
        raise ValueError(f"is a {type(text).__name__}, not a text; give the token as a text")  # noqa: TRY004 - one class
    token = text.strip().removeprefix("\ufeff").strip()
    if not token:
        raise ValueError("is empty; put the token into it")
    if len(token.splitlines()) > 1:
        raise ValueError("has more than one line; put the token alone into it")
    if not (token.isascii() and token.isprintable()):
        raise ValueError(
            "has characters that an HTTP header can't carry; a token is letters, digits and signs of ASCII"
        )
    return token


def check_waits(seconds: tuple[float, ...]) -> None:
    """Refuse waits that couldn't grow from the first to the longest.

    Raises
    ------
    ValueError
    """
    if len(seconds) != 2 or not 0 < seconds[0] <= seconds[1] <= _DAY_SECONDS:
        raise ValueError(
            "is [first, longest] in seconds, above 0, a day at most, and the first not the longer one; such as [0.5, 30]"
        )
