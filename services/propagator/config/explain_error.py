"""What pydantic finds wrong with a destinations file, as a line for its author: place, field and fix. Pure."""

from __future__ import annotations

from typing import Any, get_args

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from propagator.config.file_model import GIVE_SECRET, DestinationsFile, SecretReference
from propagator.config.yaml_document import Document, Path
from propagator.errors import FileFault

_MAPPING = "must be a mapping (name: value)"


def explain(error: ErrorDetails, file: type[DestinationsFile], document: Document) -> FileFault:
    """The error at the innermost value of the document that it is about."""
    path, model, field = _resolve(error["loc"], file)
    match error["type"]:
        case "missing":
            fix = _is_missing(path, field)
        case "extra_forbidden":
            fix = f"is not known here: {_use(model)}"
        case "fix":
            context = error["ctx"]
            fix = context["fix"]
            path += [context["at"]] if context["at"] else []
        case "list_type":
            fix = "must be a list"
        case "too_short":
            fix = f"is empty: declare {field.description}" if field else "is empty"
        case "dict_type":
            fix = _MAPPING
        case "model_type" | "model_attributes_type":
            fix = f"{_MAPPING}: {_use(model)}"
        case _:
            fix = _must_be(field)
    return FileFault(*document.locate(path), fix)


def _resolve(loc: Path, file: type[DestinationsFile]) -> tuple[list[str | int], type[BaseModel], FieldInfo | None]:
    """The path in the document, the model of the innermost section on it, and the last of its fields on it."""
    path: list[str | int] = []
    model: type[BaseModel] = file
    field: FieldInfo | None = None
    for step in loc:
        if len(path) == 2 and model is file:  # Not in the document: pydantic names the model that it has chosen.
            model = file.by_connector[str(step)]
            continue
        path.append(step)
        if isinstance(step, str) and step in model.model_fields:
            field = model.model_fields[step]
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                model = field.annotation
    return path, model, field


def _is_missing(path: Path, field: FieldInfo | None) -> str:
    name = ".".join(map(str, path[2:] if path[0] == "destinations" and len(path) > 2 else path))
    what = f"`{name}` is missing ({field.description})" if field is not None else f"`{name}` is missing"
    return f"{what}: give {GIVE_SECRET}" if field is not None and field.annotation is SecretReference else what


def _use(model: type[BaseModel]) -> str:
    return f"use {', '.join(sorted(model.model_fields)) or 'nothing'}"


def _must_be(field: FieldInfo | None) -> str:
    """What the field's type and bounds require."""
    assert field is not None
    if field.annotation is bool:
        must = "must be true or false"
    elif field.annotation in (int, float):
        bounds = [text for each in field.metadata if (text := _bound(each)) is not None]
        kind = "whole number" if field.annotation is int else "number"
        must = " ".join(["must be a", kind, " and ".join(bounds)]).rstrip()
    else:
        must = f"must be one of {', '.join(map(str, get_args(field.annotation)))}"
    return f"{must}: {field.description}"


def _bound(bound: Any) -> str | None:
    match bound:
        case Gt(gt=limit):
            return f"above {limit:g}"
        case Ge(ge=limit):
            return f"of at least {limit:g}"
        case Le(le=limit):
            return f"at most {limit:g}"
    return None
