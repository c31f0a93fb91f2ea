"""The base class of all parts of the session config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from nbbacktest.core.errors import ConfigError, ParameterError, Problem

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass as _Meta
else:
    _Meta = type(BaseModel)


class _Constructor(_Meta):
    """Makes a model of values by name, and reports wrong values in the project's own words.

    It serves models that are written in Python: parts of a config that is read are made without it.
    """

    def __call__(self, *values: Any, **named: Any) -> Any:
        made: type[BaseModel] = self  # type: ignore[assignment]  # a model's class is made by this one
        name = made.__name__
        if values:
            fields = [f"{field}=..." for field in made.model_fields if field != "model"]
            cure = f"values are given by name: {name}({', '.join(fields)})" if fields else "it takes no value"
            raise ParameterError([Problem(f"{name}()", values[0] if len(values) == 1 else values, cure)], name)
        try:
            return super().__call__(**named)
        except ValidationError as error:
            from nbbacktest.core.refusals import problems_of

            raise ConfigError(problems_of(made, error), name) from None


class Model(BaseModel, metaclass=_Constructor):
    """The base of all parts of the config: frozen, strict about types, no unknown keys, finite numbers.

    Raises
    ------
    ConfigError
        For values that make no sense, with each value and its cure.
    ParameterError
        For values that aren't given by name; a TypeError too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=True)
