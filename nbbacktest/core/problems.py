"""Turns pydantic's errors into where, which value and what to do."""

from __future__ import annotations

from typing import Any, get_args

from nbbacktest.core.errors import Problem, nearest
from nbbacktest.core.model import Model


def problem_of(root: type[Model], error: Any) -> Problem:
    """One of pydantic's errors about a `root`, in the config's own words."""
    kind, value, places = error["type"], error["input"], error["loc"]
    unknown = kind == "extra_forbidden"
    where, models = _walk(root, places[:-1] if unknown else places)
    if unknown:
        known = {info.alias or name for model in models for name, info in model.model_fields.items()}
        return Problem(_written([*where, places[-1]]), value, f"is not a known key; {nearest(str(places[-1]), known)}")
    path = _written(where)
    if kind == "missing":
        return Problem(path, None, "is required; add it")
    tags = [tag for model in models for tag in _tags(model)]
    if kind == "union_tag_invalid" and tags:
        tag = error["ctx"]["tag"]
        return Problem(f"{path}.model", tag, f"is not a known model; {nearest(tag, tags)}")
    if tags and (kind == "union_tag_not_found" or not isinstance(value, dict)):
        return Problem(path, value, f'name a model, as in {{"model": "{tags[0]}"}}; known are: {", ".join(tags)}')
    message = error["msg"].removeprefix("Value error, ")
    return Problem(path, value, message[:1].lower() + message[1:])


def _written(where: list[Any]) -> str:
    return ".".join(str(part) for part in where) or "(whole)"


def _walk(root: type[Model], places: tuple[Any, ...]) -> tuple[list[Any], list[type[Model]]]:
    """The path as the file writes it, and the models that may stand there.

    Pydantic's own path also names which of several alternatives was tried; the file doesn't.
    """
    path: list[Any] = []
    models: list[type[Model]] = [root]
    for part in places:
        if isinstance(part, int):
            path.append(part)
            continue
        infos = [info for model in models for name, info in model.model_fields.items() if part in {name, info.alias}]
        if infos:
            path.append(part)
            models = [inner for info in infos for inner in _models_in(info)]
        elif chosen := [model for model in models if part in _tags(model)]:
            models = chosen
    return path, models


def _models_in(annotation: Any) -> list[type[Model]]:
    annotation = getattr(annotation, "annotation", annotation)  # of a field
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]


def _tags(model: type[Model]) -> tuple[Any, ...]:
    """What a model calls itself under the key `model`."""
    info = model.model_fields.get("model")
    return get_args(info.annotation) if info else ()
