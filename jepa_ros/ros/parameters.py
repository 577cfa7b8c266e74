"""ROS parameters made from configuration dataclasses: default, bounds and explanation stay in the dataclass.

A field `dt_s` of the group `pipeline` becomes the parameter `pipeline.dt_s`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from jepa_ros.config import from_dict

T = TypeVar("T")
COMMON = ("use_sim_time", "start_type_description_service")  # declared by rclpy itself where it has them
INT64_MAX = 2**63 - 1
ARRAY_TYPES = {
    str: Parameter.Type.STRING_ARRAY,
    float: Parameter.Type.DOUBLE_ARRAY,
    int: Parameter.Type.INTEGER_ARRAY,
    bool: Parameter.Type.BOOL_ARRAY,
}


NOTHING: dict[type, list[Any]] = {str: [""], float: [math.nan]}  # stands for an empty array, whose type ROS cannot tell


class Parameters(Generic[T]):
    """Declares every field of a dataclass as a parameter of `node`; `config` is always the validated dataclass of their values.

    A change that the dataclass refuses is refused with its reason. `on_change(config)` is called after an accepted one.
    Raises ValueError where a value given at start does not fit.
    """

    def __init__(
        self, node: Node, kind: type[T], on_change: Callable[[T], None] | None = None, changeable: Callable[[], bool] | None = None
    ) -> None:
        """changeable: whether parameters that a running node cannot take may be set now; None = never."""
        self._node = node
        self._kind = kind
        self._fields = dict(walk_fields(kind))
        self._on_change = on_change
        self._changeable = changeable
        for name, (hint, field) in self._fields.items():
            declare(node, name, hint, field, ever_changeable=changeable is not None)
        self.config: T = self._read({})
        self.problems = unknown_parameters(node)
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._apply)

    def _read(self, changes: dict[str, Any]) -> T:
        values: dict[str, Any] = {}
        for name in self._fields:
            value = changes[name] if name in changes else self._value(name)
            *groups, leaf = name.split(".")
            place = values
            for group in groups:
                place = place.setdefault(group, {})
            if value is not None:
                place[leaf] = plain(value)
                self._check_live(name, value, changes)
        return from_dict(self._kind, values, where=fully_named(self._node))

    def _check_live(self, name: str, value: Any, changes: dict[str, Any]) -> None:
        """What only a simulation may be given, a robot is refused. Raises ValueError."""
        most, simulated_most = (self._fields[name][1].metadata.get(bound) for bound in ("at_most_live", "at_most"))
        if most is None or value <= most or changes.get("use_sim_time", self._value("use_sim_time")):
            return
        raise ValueError(
            f"{fully_named(self._node)}: {name} = {value}: must be at most {most:g} on a robot; lower it"
            f" (up to {simulated_most:g} is for simulators slower than real time: set use_sim_time there)"
        )

    def _value(self, name: str) -> Any:
        # An array whose default is empty is declared by type alone and stays unset until somebody gives it.
        return self._node.get_parameter_or(name, Parameter(name, Parameter.Type.NOT_SET)).value

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        changes = {one.name: one.value for one in parameters if one.name in self._fields or one.name in COMMON}
        fixed = [name for name in changes if name in self._fields and self._fields[name][1].metadata.get("read_only", True)]
        if fixed and self._changeable is not None and not self._changeable():
            reason = (
                f"{fixed[0]} can be set while the node is unconfigured only: `ros2 lifecycle set {fully_named(self._node)} cleanup` first"
            )
            return SetParametersResult(successful=False, reason=reason)
        try:
            self._read(changes)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, parameters: list[Parameter]) -> None:
        if any(parameter.name in self._fields for parameter in parameters):
            self.config = self._read({})
            if self._on_change is not None:
                self._on_change(self.config)


def walk_fields(kind: type, prefix: str = "") -> Iterator[tuple[str, tuple[Any, dataclasses.Field]]]:
    """Yields (parameter name, (type hint, field)) of every leaf of a tree of dataclasses."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from walk_fields(hint, f"{prefix}{field.name}.")  # type: ignore[arg-type]
        else:
            yield f"{prefix}{field.name}", (hint, field)


def fully_named(node: Node) -> str:
    """/robot1/planner: with two robots, the name alone is ambiguous."""
    return f"{node.get_namespace().rstrip('/')}/{node.get_name()}"


def unknown_parameters(node: Node) -> list[str]:
    """A sentence for each name in a parameter file that no parameter has; ROS ignores such names silently."""
    declared, sentences = set(node._parameters), []
    for name in sorted(set(getattr(node, "_parameter_overrides", {})) - declared):
        if name.startswith("qos_overrides.") or name in COMMON:
            continue
        near = difflib.get_close_matches(name, declared, 1, 0.7)
        if not near:  # its group may be missing, and several groups may have one of that name
            leaves = {known.rsplit(".", 1)[-1] for known in declared}
            alike = difflib.get_close_matches(name.rsplit(".", 1)[-1], leaves, 1, 0.8)
            near = sorted(known for known in declared if known.rsplit(".", 1)[-1] in alike)
        fix = f"did you mean {' or '.join(near)}?" if near else f"`ros2 param list {fully_named(node)}` lists those that there are"
        sentences.append(f"parameter {name} is given, but this node has none of that name: {fix}")
    return sentences


def declare(node: Node, name: str, hint: Any, field: dataclasses.Field, ever_changeable: bool = False) -> None:
    """Declares one field as a parameter. Raises ValueError where the value given at start has the wrong type or is out of range."""
    try:
        node.declare_parameter(name, default_value(field, hint), describe(field, hint, ever_changeable))
    except ParameterException as error:  # the value came from the command line, a launch file or a parameter file
        meaning = field.metadata.get("description")
        raise ValueError(f"parameter {name} of {fully_named(node)} ({meaning}): {error}") from error


def default_value(field: dataclasses.Field, hint: Any) -> Any:
    """The default to declare; an empty array needs a stand-in that shows its type."""
    default = field.default_factory() if field.default is dataclasses.MISSING else field.default  # type: ignore[misc]
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        return list(default) or NOTHING.get(item, ARRAY_TYPES[item])
    return float(default) if hint is float else default


def describe(field: dataclasses.Field, hint: Any, ever_changeable: bool = False) -> ParameterDescriptor:
    """The descriptor that tools show: description, range, choices, and whether a running node takes a change."""
    low, high = field.metadata.get("at_least"), field.metadata.get("at_most")
    choices = field.metadata.get("choices")
    fixed = field.metadata.get("read_only", True)
    constraints = [f"one of: {', '.join(choices)}"] if choices else []
    live = field.metadata.get("at_most_live")
    if live is not None:
        constraints.append(f"at most {live:g} unless use_sim_time is set")
    if fixed and ever_changeable:
        constraints.append("can be set while the node is unconfigured")
    descriptor = ParameterDescriptor(
        description=field.metadata.get("description", ""),
        read_only=fixed and not ever_changeable,
        additional_constraints="; ".join(constraints),
    )
    if low is None and high is None:
        return descriptor
    if hint is int:
        from_value, to_value = (-INT64_MAX if low is None else int(low)), (INT64_MAX if high is None else int(high))
        descriptor.integer_range = [IntegerRange(from_value=from_value, to_value=to_value)]
    elif hint is float:
        from_value, to_value = (float("-inf") if low is None else float(low)), (float("inf") if high is None else float(high))
        descriptor.floating_point_range = [FloatingPointRange(from_value=from_value, to_value=to_value)]
    return descriptor


def plain(value: Any) -> Any:
    """A parameter's value as plain Python; empty strings and NaN in an array mean "none" (YAML cannot give ROS an empty array)."""
    if isinstance(value, (str, bool, int, float)):
        return value
    return [item for item in value if item != "" and item == item]
