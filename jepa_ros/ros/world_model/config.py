"""Parameters of the world_model node."""

from __future__ import annotations

from dataclasses import dataclass, field

from jepa_ros.backends import check_name, resolve_device
from jepa_ros.config import param, validate
from jepa_ros.forecast.conformal import CorrectionConfig
from jepa_ros.pipeline import PipelineConfig
from jepa_ros.ros.detections.inputs import DetectionsConfig
from jepa_ros.ros.world_model.outputs import OutputConfig
from jepa_ros.ros.world_model.subscriptions import InputConfig
from jepa_ros.sensing import SensingConfig


@dataclass(frozen=True)
class WorldModelConfig:
    """Everything that can be set on the world_model node."""

    model: str = param(
        "scene_jepa",
        "back-end: scene_jepa, persistence, vjepa2, vjepa2_ac, ijepa, frozen, or one of your own; used at configure",
        read_only=False,
    )
    device: str = param("auto", "auto, cpu, cuda or cuda:N; used at configure", read_only=False)
    threads: int = param(0, "torch threads of this process; 0 = half of the cores, the rest for other nodes", at_least=0, at_most=256)
    autostart: bool = param(False, "configure and activate at start, without a lifecycle manager")
    inputs: InputConfig = field(default_factory=InputConfig)
    detections: DetectionsConfig = field(default_factory=DetectionsConfig)
    outputs: OutputConfig = field(default_factory=OutputConfig)
    sensing: SensingConfig = field(default_factory=SensingConfig)
    pipeline: PipelineConfig = field(default_factory=PipelineConfig)
    correction: CorrectionConfig = field(default_factory=CorrectionConfig)

    def __post_init__(self) -> None:
        validate(self)
        check_name(self.model)
        resolve_device(self.device)
