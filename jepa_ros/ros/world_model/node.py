"""The world_model node: sensors in, predicted latents, occupancy and pedestrian forecasts out.

Lifecycle: configure loads and warms up the model, activate opens the gate, deactivate closes it, cleanup frees the memory.
"""

from __future__ import annotations

import os
import sys

import torch
from diagnostic_msgs.msg import DiagnosticStatus

from jepa_ros.backends import resolve_device
from jepa_ros.pipeline import WorldModelPipeline
from jepa_ros.ros.detections.inputs import check_types
from jepa_ros.ros.entry import run
from jepa_ros.ros.lifecycle import ManagedNode
from jepa_ros.ros.world_model.config import WorldModelConfig
from jepa_ros.ros.world_model.diagnostics import Reporter
from jepa_ros.ros.world_model.outputs import Outputs
from jepa_ros.ros.world_model.session import Session
from jepa_ros.threads import keep_freed_memory


class WorldModelNode(ManagedNode[WorldModelConfig]):
    """Wires parameters, the model, the stream of data through it, and diagnostics together."""

    def __init__(self) -> None:
        self._pipeline: WorldModelPipeline | None = None
        self._outputs: Outputs | None = None
        self._stream: Session | None = None
        self._device = ""
        self._reporter = Reporter()
        super().__init__("world_model", WorldModelConfig)

    def open(self) -> str:
        config = self.settings.config
        torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 1) // 2))
        check_types(config.detections)
        others = bool(config.detections.topics)
        self._pipeline = WorldModelPipeline.load(config.model, config.device, config.pipeline, others)
        self._pipeline.warm_up()
        spec = self._pipeline.spec
        forecasters = config.pipeline.forecaster or type(self._pipeline.forecaster).__name__, self._pipeline.traffic_forecaster.name
        self._outputs = Outputs(self, spec, forecasters, lambda: self.settings.config.outputs)
        self._device = resolve_device(config.device)
        return f"model {spec.name} {spec.version} is ready on {self._device}"

    def start(self) -> None:
        assert self._pipeline is not None
        assert self._outputs is not None
        self._stream = Session(self, self.settings.config, self._pipeline, self._outputs)

    def stop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def release(self) -> None:
        self.stop()
        if self._outputs is not None:
            self._outputs.destroy()
        self._outputs = self._pipeline = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def advice(self) -> str:
        return f"model={self.settings.config.model!r} device={self.settings.config.device!r}"

    def statuses(self) -> list[DiagnosticStatus]:
        return self._reporter.report(self.state, self._pipeline, self._device, self._stream)


def main() -> int:
    """Entry point of the `world_model` executable."""
    keep_freed_memory()  # of the whole process, so the node decides it and no library call does
    return run("world_model", WorldModelNode)


if __name__ == "__main__":
    sys.exit(main())
