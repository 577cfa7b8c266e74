"""Parameters of the planner node."""

from __future__ import annotations

from dataclasses import dataclass, field

from jepa_ros.backends import check_name, resolve_device
from jepa_ros.config import param, validate
from jepa_ros.planning import PlannerConfig
from jepa_ros.planning.imagined.motions import ActionConfig
from jepa_ros.ros.planner.controller import ControllerConfig
from jepa_ros.ros.planner.inputs import PlannerInputConfig


@dataclass(frozen=True)
class PlannerNodeConfig:
    """Everything that can be set on the planner node."""

    model: str = param(
        "scene_jepa",
        "back-end for imagine, plan_actions and planner.rehearsed: that of world_model; empty = plan_path only; used at configure",
        read_only=False,
    )
    model_at_start: bool = param(
        False, "load that model at configure; else with the first request that needs it, which is refused meanwhile; used at configure",
        read_only=False,
    )  # fmt: skip
    device: str = param("auto", "auto, cpu, cuda or cuda:N; used at configure", read_only=False)
    weights: str = param(
        "", "weights of that model, the same as world_model's; empty = the shipped ones; used at configure", read_only=False
    )
    autostart: bool = param(False, "configure and activate at start, without a lifecycle manager")
    threads: int = param(1, "torch threads of this process; more than one seldom helps a search of this size", at_least=1, at_most=256)
    nice: int = param(-10, "scheduling priority of this process, where the system allows it; 0 = like any other", at_least=-20, at_most=19)
    default_deadline_s: float = param(
        0.2, "for requests that name none, s from their arrival", at_least=0.01, at_most=60.0, read_only=False
    )
    inputs: PlannerInputConfig = field(default_factory=PlannerInputConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    actions: ActionConfig = field(default_factory=ActionConfig)
    controller: ControllerConfig = field(default_factory=ControllerConfig)

    def __post_init__(self) -> None:
        validate(self)
        if self.model:
            check_name(self.model)
        resolve_device(self.device)
