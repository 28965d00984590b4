"""Type checks of values read from disk, because valid JSON may still contain a string in place of a number."""

from __future__ import annotations

import dataclasses
import types
import typing
from functools import cache
from typing import Any


def require_shape(value: Any) -> None:
    """Raise TypeError or ValueError unless each field of a dataclass has its annotated type and all text is UTF-8."""
    cls: Any = type(value)
    for name, kind in _fields(cls).items():
        _require(getattr(value, name), kind, f"{cls.__name__}.{name}")


@cache
def _fields(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _require(value: Any, kind: Any, where: str) -> None:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        (kind,) = (item for item in arguments if item is not types.NoneType)  # only "X | None" is used
        if value is not None:
            _require(value, kind, where)
    elif origin in (tuple, frozenset):
        same = origin is frozenset or arguments[-1] is Ellipsis
        if type(value) is not origin or not (same or len(value) == len(arguments)):
            raise TypeError(f"{where} has the wrong type")
        for item, inner in zip(value, [arguments[0]] * len(value) if same else arguments, strict=True):
            _require(item, inner, where)
    elif type(value) is not kind and (kind is not float or type(value) is not int):
        raise TypeError(f"{where} has the wrong type")
    elif kind is str:
        value.encode()
    elif dataclasses.is_dataclass(value):
        require_shape(value)
