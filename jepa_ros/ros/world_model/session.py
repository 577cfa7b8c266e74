"""The world model between activate and deactivate. Subscriptions fill the hub, the worker empties it."""

from __future__ import annotations

import threading
import time

from rclpy.lifecycle import LifecycleNode
from rclpy.logging import LoggingSeverity

from jepa_ros.forecast.conformal import Correction
from jepa_ros.pipeline import WorldModelPipeline
from jepa_ros.protocols import ModelSpec
from jepa_ros.ros.conversions import Frames
from jepa_ros.ros.detections.inputs import Detections
from jepa_ros.ros.latency import LatencyBook
from jepa_ros.ros.tf import installed_transforms
from jepa_ros.ros.world_model.config import WorldModelConfig
from jepa_ros.ros.world_model.outputs import Outputs
from jepa_ros.ros.world_model.subscriptions import Inputs
from jepa_ros.ros.world_model.worker import PipelineWorker
from jepa_ros.sensing import SensorHub
from jepa_ros.types import Observation, SceneState

SAVE_PERIOD_S = 30.0  # between two copies of what was learned, as a node may be killed


def wants_images(config: WorldModelConfig, spec: ModelSpec) -> bool:
    """Whether anything looks at images: the model, or a vote of the cameras, whose boxes need the image's lens and place."""
    return "camera" in spec.inputs or bool(config.pipeline.camera.detector or config.detections.topic_2d)


class Session:
    """Runs from the moment it is made until `close()`."""

    def __init__(self, node: LifecycleNode, config: WorldModelConfig, pipeline: WorldModelPipeline, outputs: Outputs) -> None:
        self._logger = node.get_logger()
        self._context = node.context
        self._outputs = outputs
        self._correction = Correction(config.correction)
        self._published: SceneState | None = None  # with the forecasts as they went out
        self._saved_s = time.monotonic()
        self._score_lock = threading.Lock()  # the worker writes, the diagnostics read
        pipeline.reset()
        self.latency = LatencyBook()
        transforms = installed_transforms(config.sensing.buffer_s)
        self._logger.info(f"transforms are kept by {'tf2_ros' if transforms else 'jepa_ros (tf2_ros is not installed)'}")
        self.hub = SensorHub(config.sensing, transforms=transforms, required=pipeline.spec.required_inputs, cameras=pipeline.spec.cameras)
        self._detections = Detections(node, config.detections, self.hub)
        self.worker = PipelineWorker(
            pipeline, self._detections, self._publish, self._keep_score, self._report, self.latency, self._transport_ms
        )
        self.inputs = Inputs(node, config.inputs, self.hub, wants_images(config, pipeline.spec), self.worker.wake, self.latency)
        self.worker.start()

    def forecast_scores(self) -> dict[str, float]:
        """How the published forecasts compare with what people then did, and cyclists and vehicles, as far as any were scored."""
        with self._score_lock:
            return self._correction.told()

    def silent_s(self) -> float | None:
        """Since the last image or cloud came, whichever input it was; None where none has come."""
        return self.inputs.silent_s()

    def close(self) -> None:
        """Listen no more, finish the step in progress. Raises RuntimeError where that does not end."""
        self.inputs.close()
        self._detections.close()
        self.worker.stop()
        self._save()

    def _publish(self, state: SceneState, observation: Observation) -> None:
        if self._logger.is_enabled_for(LoggingSeverity.DEBUG):  # the text costs nothing while nobody reads it
            stages = ", ".join(f"{stage} {elapsed_ms:.1f}" for stage, elapsed_ms in state.timings_ms.items())
            self._logger.debug(f"{state.stamp_ns}: from {' and '.join(state.sensors)}, {len(state.people.ids)} people; ms: {stages}")
        with self._score_lock:
            self._published = self._correction.corrected(state)
        self._outputs.publish(self._published, Frames(self.hub.base_frame, self.hub.odom_frame), observation)

    def _keep_score(self, state: SceneState) -> None:
        with self._score_lock:
            self._correction.learn(self._published or state)
        if time.monotonic() - self._saved_s > SAVE_PERIOD_S:
            self._save()

    def _save(self) -> None:
        """What was learned of the forecasts' spread; a full disk or a folder that may not be written costs that alone."""
        self._saved_s = time.monotonic()
        try:
            with self._score_lock:
                self._correction.save()
        except OSError as error:
            self._logger.warning(f"forecast corrections cannot be stored: {error}; see correction.file", throttle_duration_sec=600.0)

    def _report(self, text: str) -> None:
        if not self._context.ok():  # Ctrl-C in the middle of a step: its result can no longer be published
            return
        self._logger.error(f"a step failed, history cleared: {text}", throttle_duration_sec=5.0)

    def _transport_ms(self, stamp_ns: int) -> float:
        return self.inputs.transport_ms(stamp_ns)
