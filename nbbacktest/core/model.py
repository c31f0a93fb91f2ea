"""The base class of all parts of the session config, and the problems of a config in plain words: places, values and cures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_origin

from pydantic import BaseModel, ConfigDict, Tag, ValidationError

from nbbacktest.core.errors import MISSING, ConfigError, ParameterError, Problem, closest, nearest

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass as _Meta
    from pydantic.fields import FieldInfo
else:
    _Meta = type(BaseModel)

_TYPES = {
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "text",
    "bool_type": "true or false",
}
_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_MAPPINGS = ("model_type", "model_attributes_type", "dict_type")
_LISTS = ("tuple_type", "list_type")
_DATES = ("date_type", "date_parsing", "date_from_datetime_parsing", "date_from_datetime_inexact")
_TAG = "model"
"""The key that tells the members of a union apart."""


class RefusedError(ValueError):
    """The error of a validator that sees several keys: the one that is wrong, its value, and the cure."""

    def __init__(self, key: str, value: Any, cure: str) -> None:
        super().__init__(f"{key} = {value!r}: {cure}")
        self.key, self.value, self.cure = key, value, cure


def problems_of(root: type[BaseModel], error: ValidationError) -> list[Problem]:
    """Every problem that pydantic found in a `root`, in the order of its fields."""
    errors = error.errors()
    found = [tuple(one["loc"]) for one in errors]
    # Pydantic also calls a list too short if its members were refused: that problem is left out.
    return [
        _problem(root, one)
        for one, at in zip(errors, found, strict=True)
        if not (one["type"] == "too_short" and any(len(other) > len(at) and other[: len(at)] == at for other in found))
    ]


def _problem(root: type[BaseModel], error: Any) -> Problem:
    place = _Place(root)
    for part in error["loc"]:
        place.enter(part)
    path, value, kind = ".".join(place.path) or "(whole)", error["input"], error["type"]
    context = error.get("ctx", {})
    if isinstance(cause := context.get("error"), RefusedError):
        return Problem(".".join([*place.path, cause.key]), cause.value, cause.cure)
    if kind == "missing":
        return Problem(path, MISSING, f"is required; add it{place.hint}")
    if kind == "extra_forbidden":
        return Problem(path, value, f"is not a known key; {nearest(place.path[-1], place.siblings)}")
    if kind == "union_tag_not_found":
        return Problem(f"{path}.{_TAG}", MISSING, f"is required; add it: {_either(place.tags)}")
    if kind == "union_tag_invalid":
        return Problem(f"{path}.{_TAG}", value[_TAG], _choice(value[_TAG], place.tags))
    return Problem(path, value, _cure(kind, error, place))


def _cure(kind: str, error: Any, place: _Place) -> str:
    value, context = error["input"], error.get("ctx", {})
    if kind in _TYPES:
        return f"must be {_TYPES[kind]}{place.hint}"
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"must be {words} {context[key]:g}{place.hint}"
    if kind in _DATES:
        return 'must be a date such as "2024-10-03"'
    if kind in _LISTS:
        return "must be a list; put it in brackets" + (f": [{json.dumps(value)}]" if isinstance(value, str) else "")
    if kind in _MAPPINGS:
        example = ', such as {"model": "percent", "rate": 0.001}' if place.tags else ""
        return f"must be a mapping of keys to values{example}{place.hint}"
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"])
        return _choice(value, choices) if choices else f"must be {context['expected']}{place.hint}"
    if kind == "too_short":
        return f"must name at least one{place.hint}"
    if kind == "string_too_short":
        return f"must not be empty{place.hint}"
    message = str(error["msg"])
    own = message.removeprefix("Value error, ")
    return own if own != message else message[:1].lower() + message[1:]


def _choice(value: Any, choices: list[str]) -> str:
    if len(choices) == 1:
        return f"must be {choices[0]!r}, the one choice in this version"
    meant = closest(value, choices) if isinstance(value, str) else None
    return f"must be {_either(choices)}" + (f"; did you mean {meant!r}?" if meant else "")


def _either(choices: list[str]) -> str:
    *others, last = map(repr, choices)
    return f"{', '.join(others)} or {last}" if others else last


class _Place:
    """A place in a config, entered key by key."""

    def __init__(self, root: type[BaseModel]) -> None:
        self.path: list[str] = []
        self.siblings: set[str] = set()  # the keys that stand beside the last one
        self._models: list[type[BaseModel]] = [root]
        self._field: FieldInfo | None = None

    def enter(self, part: int | str) -> None:
        """Go one step down: to a key, into a list, or to the member of a union that pydantic chose by its tag."""
        chosen = [model for model in self._models if part in _tags_of(model)]
        if chosen and len(self._models) > 1:
            self._models = chosen
            return
        # In a union whose members are told apart by their kind, the path has a label that isn't in the config.
        labelled = [
            inner for label, inner in _labels_in(self._field.annotation if self._field else None) if label == part
        ]
        if labelled and self.path[-1] in self.siblings:
            self._models = list(_models_in(labelled[0]))
            return
        self.path.append(str(part))
        if isinstance(part, int):
            return
        if self._field is not None and get_origin(self._field.annotation) is dict:
            self._field = None  # a key of the user's own, under which the next key stands
            return
        fields = dict(_keys_of(self._models))
        self.siblings = set(fields)
        self._field = fields.get(part)
        self._models = list(_models_in(self._field.annotation)) if self._field else []

    @property
    def hint(self) -> str:
        """The field's description in brackets; "" without one."""
        words = self._field.description if self._field else None
        return f" ({words})" if words else ""

    @property
    def tags(self) -> list[str]:
        """The tags of a union's members here; empty if this is no union."""
        return [tag for model in self._models for tag in _tags_of(model)]


def _keys_of(models: list[type[BaseModel]]) -> Iterator[tuple[str, FieldInfo]]:
    for model in models:
        for name, info in model.model_fields.items():
            yield info.alias or name, info


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models_in(inner)


def _labels_in(annotation: Any) -> Iterator[tuple[str, Any]]:
    for one in getattr(annotation, "__metadata__", ()):
        if isinstance(one, Tag):
            yield one.tag, annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _labels_in(inner)


def _tags_of(model: type[BaseModel]) -> list[str]:
    fields: Mapping[str, FieldInfo] = model.model_fields
    return [str(fields[_TAG].default)] if _TAG in fields else []


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
