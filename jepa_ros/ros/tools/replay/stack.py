"""World model and planner as their nodes put them together, over a loopback graph."""

from __future__ import annotations

import logging
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from jepa_ros.backends import resolve_device
from jepa_ros.forecast.scoring import OnlineScore
from jepa_ros.pipeline import WorldModelPipeline
from jepa_ros.planning import Planner
from jepa_ros.ros.conversions import Frames
from jepa_ros.ros.planner.config import PlannerNodeConfig
from jepa_ros.ros.planner.inputs import PlannerInputs
from jepa_ros.ros.planner.model import ModelOnDemand
from jepa_ros.ros.planner.scene import SceneReader
from jepa_ros.ros.planner.services import PlannerServices
from jepa_ros.ros.tools.replay.loopback import Graph, LoopbackNode
from jepa_ros.ros.world_model.outputs import Outputs
from jepa_ros.ros.world_model.session import WorldModelConfig
from jepa_ros.srv import PlanPath
from jepa_ros.types import Observation, SceneState

log = logging.getLogger(__name__)
UNHURRIED_S = 3600.0  # the search ends by its number of iterations, never by the clock: what it finds does not depend on the machine's load


@dataclass(frozen=True)
class ReplayConfig:
    """The parameters of both nodes."""

    world_model: WorldModelConfig = field(default_factory=WorldModelConfig)
    planner: PlannerNodeConfig = field(default_factory=PlannerNodeConfig)


def warn_of_unheard(config: WorldModelConfig) -> None:
    """Say once what the parameters ask for and a replay leaves out: it reads no messages of other detectors."""
    unheard = ", ".join(f"detections.{name} = {topic!r}" for name, topic in config.detections.topics.items())
    if unheard:
        log.warning("replayed without other detectors: %s; on the robot they vote on people and vehicles, so results may differ", unheard)


class Stopwatch:
    """Milliseconds of named stages, all of them."""

    def __init__(self) -> None:
        self.spent_ms: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started_s = time.perf_counter()
        yield
        self.spent_ms[stage].append(1e3 * (time.perf_counter() - started_s))


class Stack:
    """Takes observations, publishes what the world model makes of them, and answers plan requests."""

    def __init__(self, graph: Graph, config: ReplayConfig) -> None:
        world_model = config.world_model
        warn_of_unheard(world_model)
        # As the node does it; sums in another order would be other numbers.
        self.threads = world_model.threads or max(1, (os.cpu_count() or 1) // 2)
        torch.set_num_threads(self.threads)
        self.pipeline = WorldModelPipeline.load(world_model.model, world_model.device, world_model.pipeline)
        self.pipeline.warm_up()
        forecasters = world_model.pipeline.forecaster or type(self.pipeline.forecaster).__name__, self.pipeline.traffic_forecaster.name
        self._outputs = Outputs(LoopbackNode(graph, "world_model"), self.pipeline.spec, forecasters, lambda: world_model.outputs)
        self.services = self._planner(graph, config.planner)
        self.score = OnlineScore()
        self.watch = Stopwatch()
        self.errors: dict[str, int] = defaultdict(int)

    def _planner(self, graph: Graph, config: PlannerNodeConfig) -> PlannerServices:
        node = LoopbackNode(graph, "planner")
        surprise = config.planner.weights.surprise > 0.0
        reads_latents = surprise or config.planner.rehearsed
        inputs = PlannerInputs(node, config.inputs, self.pipeline.spec if reads_latents else None, now_s=graph.now_s)
        reader = SceneReader(inputs, resolve_device(config.device), surprise=surprise)
        model = ModelOnDemand.of(self.pipeline.model if config.model else None)
        path = node.create_lifecycle_publisher(PlanPath, "~/path", 1)
        return PlannerServices(
            lambda: config, reader, Planner(config.planner), model, lambda message, *_: path.publish(message), node.get_logger().error
        )

    def step(self, observation: Observation, frames: Frames) -> SceneState | None:
        """One observation through the model, and out. None where the step failed: it costs the history, as in the node."""
        try:
            state = self.pipeline.step(observation)
        except Exception as error:
            self.errors[f"{type(error).__name__}: {error}"] += 1
            self.pipeline.reset()
            return None
        for stage, spent_ms in state.timings_ms.items():
            self.watch.spent_ms[stage].append(spent_ms)
        with self.watch("publish"):
            self._outputs.publish(state, frames)
        self.score.update(state.stamp_ns, state.people, state.pedestrians)
        return state

    def plan(self, request: PlanPath.Request) -> PlanPath.Response:
        with self.watch("plan"):
            return self.services.answer(PlanPath, request, UNHURRIED_S)
