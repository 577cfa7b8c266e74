"""Parameters of both nodes from a ROS parameter file and from the command line, and back as flat names that two runs can be compared by."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from jepa_ros.config import from_dict
from jepa_ros.ros.tools.replay.stack import ReplayConfig

NODES = ("world_model", "planner")


def read_config(params: Path | None, changes: Iterable[str]) -> ReplayConfig:
    """params: a file as `ros2 run --params-file` takes it. changes: "NODE.PARAMETER=VALUE" each. Raises ValueError with the fix."""
    values: dict[str, Any] = {node: {} for node in NODES}
    if params is not None:
        if not params.is_file():
            raise ValueError(f"{params}: no such parameter file")
        for name, entry in (yaml.safe_load(params.read_text()) or {}).items():
            node = name.rsplit("/", 1)[-1]
            if node in values:
                _merge(values[node], entry.get("ros__parameters", {}))
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
