"""The world_model node: sensors in, predicted latents, occupancy and pedestrian forecasts out.

Lifecycle: configure loads and warms up the model, activate opens the gate, deactivate closes it, cleanup frees the memory.
"""

from __future__ import annotations

import gc
import os
import sys

import torch
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from jepa_ros.backends import resolve_device
from jepa_ros.pipeline import WorldModelPipeline
from jepa_ros.ros.entry import run
from jepa_ros.ros.parameters import Parameters
from jepa_ros.ros.world_model.config import WorldModelConfig
from jepa_ros.ros.world_model.diagnostics import Reporter
from jepa_ros.ros.world_model.outputs import Outputs
from jepa_ros.ros.world_model.stream import Stream

DIAGNOSTICS_PERIOD_S = 1.0
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class WorldModelNode(LifecycleNode):
    """Wires parameters, the model, the stream of data through it, and diagnostics together."""

    def __init__(self) -> None:
        super().__init__("world_model")
        self._settings = Parameters(self, WorldModelConfig)
        self._pipeline: WorldModelPipeline | None = None
        self._outputs: Outputs | None = None
        self._stream: Stream | None = None
        self._device = ""
        self._reporter = Reporter()
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # The wall's time: diagnostics go on when simulated time stands still.
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=Clock(clock_type=ClockType.STEADY_TIME))
        if self._settings.config.autostart and self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        config = self._settings.config
        torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 1) // 2))
        try:
            self._pipeline = WorldModelPipeline.load(config.model, config.device, config.pipeline)
            self._pipeline.warm_up()
        except Exception as error:  # whatever a back-end raises: the node stays, so that the parameter can be put right
            self.close()
            self.get_logger().error(f"cannot configure model={config.model!r} device={config.device!r}: {type(error).__name__}: {error}")
            return FAILURE
        spec = self._pipeline.spec
        forecaster = config.pipeline.forecaster or type(self._pipeline.forecaster).__name__
        self._outputs = Outputs(self, spec, forecaster, lambda: self._settings.config.outputs)
        self._device = resolve_device(config.device)
        # What is loaded now stays. Without this, every full garbage collection while messages are built walks through all of torch.
        gc.collect()
        gc.freeze()
        self.get_logger().info(f"model {spec.name} {spec.version} is ready on {self._device}")
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._pipeline is not None
        assert self._outputs is not None
        result = super().on_activate(state)
        self._stream = Stream(self, self._settings.config, self._pipeline, self._outputs)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop_stream()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.close()
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.close()
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """rclpy keeps what a transition raised to itself; free everything and be ready to be configured again."""
        self.get_logger().error(f"the transition from {state.label!r} failed; configure the node again")
        self.close()
        return SUCCESS

    def close(self) -> None:
        """Stop, and free the model's memory."""
        self._stop_stream()
        if self._outputs is not None:
            self._outputs.destroy()
        self._outputs = self._pipeline = None
        gc.unfreeze()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _stop_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _publish_diagnostics(self) -> None:
        lifecycle = self._state_machine.current_state[1]
        statuses = self._reporter.report(lifecycle, self._pipeline, self._device, self._stream)
        message = DiagnosticArray(status=statuses)
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def main() -> int:
    """Entry point of the `world_model` executable."""
    return run("world_model", WorldModelNode)


if __name__ == "__main__":
    sys.exit(main())
