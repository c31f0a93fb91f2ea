"""The parameters of a strategy class, and checks of given values. Knows no run and no order."""

from __future__ import annotations

import inspect
import numbers
import types
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Union, get_args, get_origin

from nbbacktest.core.errors import MISSING, ParameterError, Problem, nearest

_PLAIN: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str}
_EXAMPLES: dict[type, str] = {int: "such as 10", float: "such as 0.5", bool: "True or False", str: "in quotes"}


class Parameter(NamedTuple):
    """One parameter of a strategy class.

    Attributes
    ----------
    default
        The class attribute, or `MISSING` where there is only an annotation.
    kind : type or None
        int, float, bool or str where the annotation, or else the default, says so; None is anything.
    optional : bool
        Whether None is a value too.
    """

    name: str
    default: Any
    kind: type | None
    optional: bool


def parameters_of(cls: type, base: type) -> dict[str, Parameter]:
    """The parameters of `cls`: its public class attributes, those of its parents first.

    Parameters
    ----------
    cls
        The class to look at.
    base
        If parameters start: what `base` and its own parents define is none.

    Notes
    -----
    Functions, properties, other descriptors, classes and `ClassVar`s are no parameters.
    """
    defaults: dict[str, Any] = {}
    annotations: dict[str, Any] = {}
    for klass in reversed(cls.__mro__):
        if klass in base.__mro__:
            continue
        own = _annotations(klass)
        annotations |= own
        for name in [*vars(klass), *own]:
            if name.startswith("_"):
                continue
            value = vars(klass).get(name, defaults.get(name, MISSING))
            if _is_behaviour(value) or _is_class_variable(annotations.get(name)):
                defaults.pop(name, None)
            else:
                defaults[name] = value
    return {name: Parameter(name, value, *_kind(annotations.get(name), value)) for name, value in defaults.items()}


def check(parameters: Mapping[str, Parameter], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Hold `given` against `parameters`; returns the values, numpy's numbers as Python's.

    Raises
    ------
    ParameterError
        With every unknown name (and the nearest known one), wrong type and missing value.
    """
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for name, value in given.items():
        parameter = parameters.get(name)
        if parameter is None:
            problems.append(Problem(name, value, f"no such parameter; {nearest(name, parameters)}"))
            continue
        try:
            values[name] = _fit(parameter, value)
        except TypeError as error:
            problems.append(Problem(name, value, str(error)))
    problems += [
        Problem(name, MISSING, f"it has no default; give it a value, {where}({name}=...)")
        for name, parameter in parameters.items()
        if parameter.default is MISSING and name not in given
    ]
    if problems:
        raise ParameterError(problems, where)
    return values


def _fit(parameter: Parameter, value: Any) -> Any:
    kind = parameter.kind
    if kind is None or (value is None and parameter.optional) or type(value) is kind:
        return value
    flag = isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")
    if kind is bool and flag:
        return bool(value)
    if kind is int and isinstance(value, numbers.Integral) and not flag:
        return int(value)
    if kind is float and isinstance(value, numbers.Real) and not flag:
        return float(value)
    if kind is str and isinstance(value, str):
        return value
    hint = ""
    if kind is int and isinstance(value, numbers.Real) and not flag:
        hint = f"; for fractions write `{parameter.name}: float` in the class"
    raise TypeError(f"is a {type(value).__name__}, must be {kind.__name__}, {_EXAMPLES[kind]}{hint}")


def _annotations(klass: type) -> dict[str, Any]:
    written = inspect.get_annotations(klass)
    if all(isinstance(word, str) and word in _PLAIN for word in written.values()):
        # A sweep asks at each point: no code is run for what most write.
        return {name: _PLAIN[word] for name, word in written.items()}
    try:
        return inspect.get_annotations(klass, eval_str=True)
    except Exception:  # noqa: BLE001 - an annotation is any code; one that can't be read checks nothing
        return written


def _is_behaviour(value: Any) -> bool:
    return callable(value) or (value is not MISSING and hasattr(type(value), "__get__"))


def _is_class_variable(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.startswith(("ClassVar", "typing.ClassVar"))
    return annotation is ClassVar or get_origin(annotation) is ClassVar


def _kind(annotation: Any, default: Any) -> tuple[type | None, bool]:
    """The type that values must have, and True if None is allowed."""
    if annotation is None:
        kind = type(default)
        return (kind if kind in _EXAMPLES else None), False
    if isinstance(annotation, str):
        annotation = _PLAIN.get(annotation)
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    kinds = [member for member in members if member is not types.NoneType]
    if len(kinds) == 1 and kinds[0] in _EXAMPLES:
        return kinds[0], len(members) == 2 or default is None
    if set(kinds) == {int, float}:
        return float, len(members) == 3 or default is None
    return None, True
