"""Parameters: which there are, which values they take, and what is said of the others."""

from typing import ClassVar

import numpy as np
import pytest

from nbbacktest.core.enums import Side
from nbbacktest.core.errors import ConfigError, ParameterError
from nbbacktest.trading.strategy import Strategy


class Cross(Strategy):
    """Every kind of class attribute."""

    fast: int = 10
    slow = 30
    share: float = 0.5
    eager: bool = False
    column: str = "close"
    cap: int | None = None
    anything = None
    words = ["a"]  # noqa: RUF012 - a mutable default is what is tested
    shared: ClassVar[int] = 3
    _hidden = 1

    @property
    def half(self):
        return self.slow / 2

    def method(self):
        return self.fast


def test_parameters_are_the_public_data():
    """Methods, properties, class variables and private names are no parameters; the repr shows the others."""
    assert repr(Cross(fast=5)) == (
        "Cross(fast=5, slow=30, share=0.5, eager=False, column='close', cap=None, anything=None, words=['a'])"
    )


def test_unknown_names_the_nearest():
    """An unknown parameter is an error that names the nearest known one."""
    with pytest.raises(ParameterError, match=r"fsat = 3: no such parameter; did you mean 'fast'\?"):
        Cross(fsat=3)


def test_all_problems_at_once():
    """Every wrong parameter is reported at once, as an error that is a ConfigError, ValueError and TypeError."""
    with pytest.raises(ParameterError) as caught:
        Cross(fsat=3, slow="x")
    assert len(caught.value.problems) == 2
    assert isinstance(caught.value, (ConfigError, ValueError))
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fast": 2.5}, {"fast": True}, {"fast": "10"}, {"fast": None}, {"slow": 1.0}, {"share": "x"},
        {"share": True}, {"eager": 1}, {"column": 3}, {"cap": 1.5}, {"fast": np.True_},
    ],
)  # fmt: skip
def test_wrong_types(wrong):
    """A value of another type than the annotation's, or else the default's, is refused."""
    with pytest.raises(ParameterError, match="must be"):
        Cross(**wrong)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"share": 1}, 1.0), ({"fast": np.int64(7)}, 7), ({"share": np.float32(0.5)}, 0.5), ({"cap": None}, None),
        ({"cap": 3}, 3), ({"eager": np.True_}, True), ({"anything": [1]}, [1]),
    ],
)  # fmt: skip
def test_right_types(given, kept):
    """An int does for a float, numpy's numbers become Python's, and where no type is said anything goes."""
    ((name, _),) = given.items()
    value = getattr(Cross(**given), name)
    assert value == kept
    assert type(value) is type(kept)


def test_union_and_text():
    """`int | float` takes any number, and a word of an enumeration is text."""

    class Free(Strategy):
        level: int | float = 1
        word: str = "a"

    assert Free(level=2).level == 2
    assert Free(level=2.5, word=Side.BUY).word == "buy"
    with pytest.raises(ParameterError, match="level = 'x'"):
        Free(level="x")


def test_required():
    """An annotation without a default must be given a value."""

    class Needs(Strategy):
        level: float

    assert Needs(level=3).level == 3.0
    with pytest.raises(ParameterError, match=r"Needs\(level=...\)"):
        Needs()


def test_inheritance():
    """A subclass has its parents' and mixins' parameters, with their types, and may change a default or hide one."""

    class Mixin:
        extra = 2.0

    class Child(Mixin, Cross):
        fast = 4

        def slow(self):
            return 0

    assert Child().fast == 4
    assert Child(extra=3).extra == 3.0
    with pytest.raises(ParameterError):
        Child(fast=1.5)
    with pytest.raises(ParameterError, match="no such parameter"):
        Child(slow=3)


def test_mutable_defaults_are_not_shared():
    """What one run puts into a list default is not there in the next."""
    first = Cross()
    first.words.append("b")
    assert Cross().words == ["a"]


def test_reserved_names():
    """A parameter can't hide what every strategy has."""
    with pytest.raises(ParameterError, match="cash = 5: every strategy has this already"):
        type("Bad", (Strategy,), {"cash": 5})


def test_unreadable_annotations():
    """Annotations that can't be evaluated check what they can, and stop nobody."""
    made = type("Odd", (Strategy,), {"__annotations__": {"n": "int", "x": "Missing[3]"}, "n": 1, "x": 2})
    assert made(x="free").x == "free"
    with pytest.raises(ParameterError):
        made(n="text")
