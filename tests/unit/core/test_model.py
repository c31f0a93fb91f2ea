"""Models that are written in Python: what is wrong with them is said in the project's own words."""

import pickle

import pytest

import nbbacktest as nb
from nbbacktest.core.config import BrokerConfig, SessionConfig
from nbbacktest.core.errors import ConfigError
from nbbacktest.core.model import Model

PUBLIC = [value for name in nb.__all__ if isinstance(value := getattr(nb, name), type) and issubclass(value, Model)]


@pytest.mark.parametrize("model", [*PUBLIC, BrokerConfig, SessionConfig], ids=lambda model: model.__name__)
def test_every_model_says_how_it_is_made(model):
    """By position, with an unknown name, and with values that are none: one clear error each, and never pydantic's."""
    with pytest.raises(ConfigError) as told:
        model(0.001)
    assert isinstance(told.value, TypeError)
    assert str(told.value).startswith(f"{model.__name__} has 1 problem:\n  {model.__name__}() = 0.001: ")
    fields = [name for name in model.model_fields if name != "model"]
    assert all(f"{name}=..." in str(told.value) for name in fields)
    for wrong in ({"nothing_such": 1}, *({name: object()} for name in fields)):
        with pytest.raises(ConfigError) as told:
            model(**wrong)
        assert "pydantic" not in str(told.value)
        assert told.value.__cause__ is None


def test_a_function_by_position():
    """The words name the field."""
    with pytest.raises(TypeError, match=r"values are given by name: CallableCommission\(function=\.\.\.\)"):
        nb.CallableCommission(len)
    with pytest.raises(TypeError, match="it takes no value"):
        nb.NoSlippage(1)


def test_a_sound_model_is_what_it_was():
    """Made by name, equal to one that was read, and itself after a pickle."""
    made = nb.TieredCommission(tiers=(nb.Tier(above=0, rate=0.001),))
    read = SessionConfig.load({"broker": {"commission": made.model_dump()}}).broker.commission
    assert made == read == pickle.loads(pickle.dumps(made))
