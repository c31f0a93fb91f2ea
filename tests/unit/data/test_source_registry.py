"""Where a run's bars come from: every source of the registry keeps to one protocol."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig, config_schema
from nbbacktest.core.data_config import SOURCES, BuiltInSource
from nbbacktest.core.user_code import imported
from nbbacktest.data import synthetic
from nbbacktest.data.datasource import SourceBars
from nbbacktest.data.files import FileSource
from nbbacktest.data.handed import HANDED_OVER, HandedOver
from nbbacktest.data.sources import AskedSource, FrameSource, is_source, source_of

BARS = synthetic.bars("EXE", "2024-10-03", "2024-10-03")["EXE"]


def config(**data: Any) -> SessionConfig:
    return SessionConfig.load({"data": {"symbols": ["EXE"], **data}})


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_built_in_source_is_a_class_that_the_config_makes(name: str):
    """Its reference leads to a class with `of_config`; what that makes finds bars, or is asked for those of a symbol."""
    built_in = SOURCES[name]
    found = imported("data.source", built_in.reference, callable)
    named = config(source=name, path="bars.csv" if built_in.path else None)
    made = found.of_config(named)
    assert callable(getattr(made, "find", None)) or is_source(made)
    source = source_of(named, None)
    assert isinstance(source, AskedSource if is_source(made) else found)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_the_schema_and_messages_name_the_sources_of_the_registry(name: str):
    """A line in the registry is enough for editors and for the cure of a misspelled name."""
    choices = config_schema()["$defs"]["DataConfig"]["properties"]["source"]["anyOf"][0]["enum"]
    assert choices == list(SOURCES)
    with pytest.raises(nb.ConfigError, match=f"'{name}'"):
        config(source=f"{name}?")


def test_a_new_source_is_a_class_and_a_line(monkeypatch: pytest.MonkeyPatch):
    """A class in this module becomes a name that configs and runs know by nothing but its line in the registry."""
    monkeypatch.setitem(SOURCES, "flat", BuiltInSource(f"{__name__}:Flat"))
    source = source_of(config(source="flat"), None)
    assert source.find(config(source="flat"), ()).source == "flat prices"


class Flat:
    """The same bars always."""

    @classmethod
    def of_config(cls, config: SessionConfig) -> Flat:
        """As built-in sources are made."""
        return cls()

    def find(self, config: SessionConfig, needs: Any) -> SourceBars:
        """All of them."""
        return SourceBars({"EXE": BARS}, "flat prices")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (BARS, FrameSource),
        ({"EXE": BARS}, FrameSource),
        ({"EXE": {"1m": BARS}}, FrameSource),
        ("bars.csv", FileSource),
        (HandedOver(), AskedSource),
    ],
    ids=["frame", "frames", "several lengths", "path", "source"],
)
def test_what_is_handed_over_is_a_source_too(data: Any, kind: type):
    """A frame, frames, a path and a source object each have their class."""
    assert isinstance(source_of(config(), data), kind)


def test_the_bars_of_a_result_are_asked_for_again():
    """The source that a result's config names has no bars, and says where they were."""
    with pytest.raises(nb.DataError, match="were handed over to the run that this config is of"):
        source_of(config(source=HANDED_OVER), None).find(config(source=HANDED_OVER, interval="1d"), ())


def test_anything_else_is_refused():
    """What bars can't be had from is named, with what is taken."""
    with pytest.raises(nb.DataError, match="data is a int; pass a DataFrame"):
        source_of(config(), 7)


def test_a_frame_of_another_library_is_told_from_pandas_own():
    """An object that only looks like a frame isn't taken for one."""

    class Table:
        columns = ("open",)

    with pytest.raises(nb.DataError, match="data is a Table"):
        source_of(config(), Table())
    assert isinstance(source_of(config(), pd.DataFrame()), FrameSource)
