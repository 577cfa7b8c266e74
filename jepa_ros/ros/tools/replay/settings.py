"""Parameters of both nodes from a ROS parameter file and from the command line, and back as flat names that two runs can be compared by."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from jepa_ros.config import from_dict
from jepa_ros.ros.parameters import COMMON
from jepa_ros.ros.planner.config import PlannerNodeConfig
from jepa_ros.ros.tools.replay.stack import ReplayConfig
from jepa_ros.ros.world_model.config import WorldModelConfig

NODES: dict[str, type] = {"world_model": WorldModelConfig, "planner": PlannerNodeConfig}
EVERY_NODE = ("*", "**")  # as in /**: of a parameter file


def read_config(params: Path | None, changes: Iterable[str]) -> ReplayConfig:
    """params: a file as `ros2 run --params-file` takes it. changes: "NODE.PARAMETER=VALUE" each. Raises ValueError with the fix."""
    values: dict[str, Any] = {node: {} for node in NODES}
    if params is not None:
        if not params.is_file():
            raise ValueError(f"{params}: no such parameter file")
        for name, entry in _sections(params).items():
            node = name.rsplit("/", 1)[-1]
            given: dict[str, Any] = {}
            _merge(given, {key: value for key, value in (entry.get("ros__parameters") or {}).items() if key not in COMMON})
            if node in values:
                _merge(values[node], given)
            elif node in EVERY_NODE:  # each node takes what it has, as ROS does it
                for each, kind in NODES.items():
                    _merge(values[each], _known(given, kind))
    for change in changes:
        name, equals, text = change.partition("=")
        node, *path = name.strip().split(".")
        if not equals or node not in values or not path:
            raise ValueError(f"--set {change}: want NODE.PARAMETER=VALUE with NODE one of {', '.join(NODES)}")
        place = values[node]
        for group in path[:-1]:
            place = place.setdefault(group, {})
        place[path[-1]] = yaml.safe_load(text)
    return from_dict(ReplayConfig, values, where="parameters")


def _sections(params: Path) -> dict[str, dict[str, Any]]:
    try:
        content = yaml.safe_load(params.read_text())
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"{params}: not YAML that a node would accept: {error}") from None
    if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
        raise ValueError(f"{params}: not a parameter file, which begins with a node's name and ros__parameters")
    return {str(name): entry for name, entry in content.items()}


def _known(given: dict[str, Any], kind: type) -> dict[str, Any]:
    """What of these a configuration has."""
    hints = typing.get_type_hints(kind)
    known: dict[str, Any] = {}
    for name, value in given.items():
        if dataclasses.is_dataclass(hints.get(name)) and isinstance(value, dict):
            known[name] = _known(value, hints[name])
        elif name in hints:
            known[name] = value
    return known


def _merge(into: dict[str, Any], values: dict[str, Any]) -> None:
    """ROS parameter files may write a.b: 1 and a: {b: 1}."""
    for name, value in values.items():
        *groups, leaf = name.split(".")
        place = into
        for group in groups:
            place = place.setdefault(group, {})
        if isinstance(value, dict):
            _merge(place.setdefault(leaf, {}), value)
        else:
            place[leaf] = value


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """ "world_model.pipeline.tracking.x" -> value, of every parameter."""
    flattened: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            flattened |= flat(value, f"{prefix}{field.name}.")
        else:
            flattened[f"{prefix}{field.name}"] = list(value) if isinstance(value, tuple) else value
    return flattened
