"""Configuration: frozen dataclasses next to the classes that use them, validated once, read from YAML.

A field made with `param()` carries its description and bounds. The bounds are checked here and shown to ROS as the parameter's
descriptor, so that a default, a limit and its explanation live in one place only.
"""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")


def param(
    default: Any,
    description: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    at_most_live: float | None = None,
    choices: tuple[str, ...] | None = None,
    read_only: bool = True,
) -> Any:
    """A dataclass field with a description, inclusive bounds or choices; read_only=False lets a running node change it.

    at_most_live: a lower bound for a robot; `at_most` then holds in simulated time alone (`ros.parameters` knows which of them it is).
    """
    metadata = {
        "description": description,
        "at_least": at_least,
        "at_most": at_most,
        "at_most_live": at_most_live,
        "choices": choices,
        "read_only": read_only,
    }
    return dataclasses.field(default=default, metadata=metadata)


def validate(config: Any) -> None:
    """Check every `param` field of a dataclass against its bounds. Raises ValueError naming the field, the value and the fix."""
    for spec in dataclasses.fields(config):
        value = getattr(config, spec.name)
        where = f"{type(config).__name__}.{spec.name} = {value!r}"
        choices = spec.metadata.get("choices")
        if choices and value not in choices:
            raise ValueError(f"{where}: choose one of {', '.join(choices)}")
        low, high = spec.metadata.get("at_least"), spec.metadata.get("at_most")
        # Written so that NaN fails too.
        if low is not None and not value >= low:
            raise ValueError(f"{where}: must be at least {low}")
        if high is not None and not value <= high:
            raise ValueError(f"{where}: must be at most {high}")


def from_dict(kind: type[T], values: dict[str, Any], where: str = "config") -> T:
    """Build a dataclass (nested ones too) from plain values. Unknown keys and wrong types raise ValueError naming the place."""
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected a mapping of {kind.__name__} fields, got {values!r}")
    fields = {spec.name: spec for spec in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(fields))}")
    hints = typing.get_type_hints(kind)
    built = {name: _coerce(hints[name], value, f"{where}.{name}") for name, value in values.items()}
    return kind(**built)


def load(kind: type[T], path: str | Path) -> T:
    """Read a YAML file into a dataclass. Raises ValueError with the file, the key and the fix."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such configuration file")
    return from_dict(kind, yaml.safe_load(path.read_text()) or {}, where=str(path))


def _coerce(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)  # type: ignore[arg-type]
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        return tuple(value)
    if isinstance(hint, type) and not (isinstance(value, hint) and isinstance(value, bool) == (hint is bool)):
        raise ValueError(f"{where} = {value!r}: expected {hint.__name__}")
    return value
