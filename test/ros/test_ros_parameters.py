"""Parameters are made from configuration dataclasses and refuse what the dataclass refuses."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest
import yaml

from jepa_ros.config import from_dict, param, validate

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

from paths import ROOT  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from jepa_ros.ros.parameters import Parameters, walk_fields  # noqa: E402


@dataclass(frozen=True)
class Group:
    dt_s: float = param(0.4, "time step", at_least=0.1, at_most=1.0, read_only=False)
    topics: tuple[str, ...] = param((), "topics", read_only=False)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class Config:
    mode: str = param("slow", "how", choices=("slow", "fast"), read_only=False)
    count: int = param(3, "how many", at_least=1)
    group: Group = field(default_factory=Group)

    def __post_init__(self) -> None:
        validate(self)
        if self.mode == "fast" and self.group.dt_s > 0.5:
            raise ValueError("mode fast needs group.dt_s <= 0.5")


@pytest.fixture
def make_node():
    rclpy.init()
    nodes = []

    def make(**overrides) -> Node:
        given = [Parameter(name.replace("__", "."), value=value) for name, value in overrides.items()]
        nodes.append(Node(f"node{len(nodes)}", parameter_overrides=given))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()


def test_defaults_and_descriptors_come_from_the_dataclass(make_node):
    node = make_node()
    parameters = Parameters(node, Config)
    assert parameters.config == Config()
    dt_s, count, mode = node.describe_parameters(["group.dt_s", "count", "mode"])
    assert dt_s.description == "time step"
    assert (dt_s.floating_point_range[0].from_value, dt_s.floating_point_range[0].to_value) == (0.1, 1.0)
    assert not dt_s.read_only
    assert count.read_only
    assert count.integer_range[0].from_value == 1
    assert mode.additional_constraints == "one of: slow, fast"


def test_values_given_at_start_arrive(make_node):
    config = Parameters(make_node(mode="fast", group__dt_s=0.5, group__topics=["/a", ""]), Config).config
    assert config == Config(mode="fast", group=Group(dt_s=0.5, topics=("/a",)))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"count": 0}, "count"),
        ({"mode": "dizzy"}, "slow, fast"),
        ({"group__dt_s": 1}, "group.dt_s.*DOUBLE"),
        ({"count": "three"}, "INTEGER"),
    ],
)
def test_a_bad_start_value_is_named(make_node, given, says):
    with pytest.raises(ValueError, match=says):
        Parameters(make_node(**given), Config)


def test_changes_are_validated_as_a_whole(make_node):
    seen = []
    node = make_node()
    parameters = Parameters(node, Config, on_change=seen.append)
    both = [Parameter("mode", value="fast"), Parameter("group.dt_s", value=0.8)]
    refused = node.set_parameters_atomically(both)
    assert not refused.successful
    assert "mode fast needs group.dt_s <= 0.5" in refused.reason
    assert parameters.config == Config()

    assert node.set_parameters_atomically([both[0], Parameter("group.dt_s", value=0.2)]).successful
    assert parameters.config == Config(mode="fast", group=Group(dt_s=0.2)) == seen[-1]
    for name, value in [("count", 4), ("group.dt_s", float("nan")), ("group.dt_s", 7.0), ("mode", "dizzy")]:
        (result,) = node.set_parameters([Parameter(name, value=value)])
        assert not result.successful, name
        assert result.reason
    assert len(seen) == 1


@dataclass(frozen=True)
class Aged:
    age_s: float = param(0.4, "age", at_least=0.1, at_most=60.0, at_most_live=5.0, read_only=False)

    def __post_init__(self) -> None:
        validate(self)


def test_a_robot_is_refused_what_only_a_simulation_may_be_given(make_node):
    says = "age_s = 60.0: must be at most 5 on a robot.* set use_sim_time"
    with pytest.raises(ValueError, match=says):
        Parameters(make_node(age_s=60.0), Aged)
    node = make_node(age_s=60.0, use_sim_time=True)
    parameters = Parameters(node, Aged)
    assert parameters.config == Aged(60.0)
    wall_time = Parameter("use_sim_time", value=False)
    (refused,) = node.set_parameters([wall_time])
    assert not refused.successful
    assert re.search(says, refused.reason)
    assert node.set_parameters_atomically([wall_time, Parameter("age_s", value=5.0)]).successful
    (refused,) = node.set_parameters([Parameter("age_s", value=5.1)])
    assert not refused.successful
    assert parameters.config == Aged(5.0)


def test_the_shipped_parameter_file_fits_the_node(make_node):
    pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
    from jepa_ros.ros.world_model.config import WorldModelConfig

    shipped = ROOT / "config" / "jepa_ros.yaml"
    # What is commented out is an example and must fit, too; prose begins with a capital letter.
    commented = re.sub(r"(?m)^    # (?![A-Z])", "    ", shipped.read_text())
    for text in (shipped.read_text(), commented):
        values = yaml.safe_load(text)["/**/world_model"]["ros__parameters"]
        assert from_dict(WorldModelConfig, values).model == "scene_jepa"
    assert {"inputs", "sensing", "pipeline"} <= set(values)


def test_every_parameter_of_the_nodes_is_described():
    pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
    from jepa_ros.ros.tools.bag_player import BagPlayerConfig
    from jepa_ros.ros.world_model.config import WorldModelConfig

    fields = [*walk_fields(WorldModelConfig), *walk_fields(BagPlayerConfig)]
    assert [name for name, (_, field) in fields if not field.metadata.get("description")] == []
