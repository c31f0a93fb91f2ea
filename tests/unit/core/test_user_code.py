"""Functions that a plain call doesn't run."""

from __future__ import annotations

import functools

import pytest

from nbbacktest.core.user_code import unrun


async def awaited():
    """Runs where it is awaited."""


def yielding():
    """Runs where it is iterated over."""
    yield


async def both():
    """Runs where it is iterated over by a coroutine."""
    yield


def plain():
    """Runs."""


@functools.wraps(awaited)
def driven():
    """Runs the coroutine function that it wraps."""


class Called:
    """Called like a function, by a coroutine function."""

    async def __call__(self):
        """As above."""


@pytest.mark.parametrize("function", [awaited, functools.partial(awaited), Called()])
def test_coroutine_functions_are_told(function):
    """As functions, with arguments bound, and as objects."""
    assert "coroutine function" in unrun(function)
    assert "write def" in unrun(function)


@pytest.mark.parametrize("function", [yielding, both, functools.partial(yielding)])
def test_generator_functions_are_told(function):
    """Asynchronous ones too."""
    assert "generator function" in unrun(function)
    assert "without yield" in unrun(function)


@pytest.mark.parametrize("function", [plain, driven, print, functools.partial(plain), Called, object(), None, 1, True])
def test_the_rest_is_not(function):
    """What runs, and what can't be called at all, which is another mistake."""
    assert unrun(function) is None
