"""Processes every frame of a bag as the nodes would on a machine that is never late."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jepa_ros.ros.conversions import Frames
from jepa_ros.ros.tools.bag_clock import BagClock, bag_clock
from jepa_ros.ros.tools.output_bag import OutputBag, is_latched
from jepa_ros.ros.tools.output_log import DIAGNOSTICS, OUTPUTS, OutputLog
from jepa_ros.ros.tools.plan_client import GOAL_AHEAD_M, PLAN_PERIOD_S, request_ahead
from jepa_ros.ros.tools.replay.loopback import Graph
from jepa_ros.ros.tools.replay.stack import ReplayConfig, Stack
from jepa_ros.sensing import BagError, BagInfo, InputStatus, RawMessage, bag_info, read_raw
from jepa_ros.sensing.bag import choose_topics, feed_bag
from jepa_ros.types import NANOSECONDS, PlanStatus

RECORDED = {topic: kind for topic, kind in OUTPUTS.items() if topic != DIAGNOSTICS}  # diagnostics tell of times, which differ


@dataclass
class Replayed:
    """What came of it."""

    info: BagInfo
    stack: Stack
    log: OutputLog
    hashes: dict[str, str]  # output topic -> SHA-256 of its messages with their times
    plans: list[dict[str, Any]] = field(default_factory=list)


class Recording:
    """The output bag, with a hash of each of our topics."""

    def __init__(self, path: Path, info: BagInfo, log: OutputLog) -> None:
        self.bag = OutputBag(path)
        self._log = log
        self._hashes: dict[str, Any] = defaultdict(hashlib.sha256)
        known = self.bag.known_types
        latched = {topic.name for topic in info.topics if topic.latched}
        self.inputs = {topic.name: topic.type_name for topic in info.topics if topic.type_name in known and topic.name not in OUTPUTS}
        for topic, kind in {**self.inputs, **RECORDED}.items():
            self.bag.add(topic, kind, topic in latched or is_latched(topic))

    def write_input(self, topic: str, log_time_ns: int, data: bytes) -> None:
        self.bag.write(topic, log_time_ns, data)
        self._log.on_message(topic, data)

    def write_output(self, topic: str, log_time_ns: int, data: bytes) -> None:
        data = self.bag.canonical(topic, data)
        self.write_input(topic, log_time_ns, data)
        self._hashes[topic].update(log_time_ns.to_bytes(8, "little") + data)

    def hashes(self) -> dict[str, str]:
        return {topic: self._hashes[topic].hexdigest() for topic in sorted(RECORDED)}


def replay(
    bag: Path, out: Path, config: ReplayConfig, ahead_m: float = GOAL_AHEAD_M, progress: Callable[[int, int], None] | None = None
) -> Replayed:
    """Writes OUT/output.mcap. `progress`: called with (frames done, frames of the bag). Raises BagError."""
    info = bag_info(bag)
    clock, frame_topic = bag_clock(info), choose_topics(info).frame_topic
    assert frame_topic is not None  # a bag without any raises
    frames = next(topic.count for topic in info.topics if topic.name == frame_topic)
    log = OutputLog(frame_topic)
    recording = Recording(out / "output.mcap", info, log)
    graph = Graph({topic.name: topic.type_name for topic in info.topics}, set(RECORDED), recording.write_output)
    stack = Stack(graph, config)
    log.measured_ms = stack.watch.spent_ms
    replayed = Replayed(info, stack, log, {})
    try:
        _drive(replayed, recording, graph, clock, config, ahead_m, lambda done: progress(done, frames) if progress else None)
    finally:
        recording.bag.close()
    replayed.hashes = recording.hashes()
    return replayed


def _drive(
    replayed: Replayed, recording: Recording, graph: Graph, clock: BagClock, config: ReplayConfig, ahead_m: float,
    progress: Callable[[int], None],
) -> None:  # fmt: skip
    info, stack, log = replayed.info, replayed.stack, replayed.log
    spec = stack.pipeline.spec
    feed = feed_bag(info.path, config=config.world_model.sensing, required=spec.required_inputs, cameras=spec.cameras)
    messages = _until(read_raw(info.path, recording.inputs))
    asked_ns: int | None = None
    for observation in feed.observations():
        for raw in messages(feed.now_ns):
            _hand_on(raw, recording, graph, clock)
        graph.now_ns = clock.at(feed.now_ns)
        for stage, spent_ms in feed.hub.last_timings_ms.items():
            if stage != "receive":  # waiting for the match, in the bag's time
                stack.watch.spent_ms[stage].append(spent_ms)
        state = stack.step(observation, Frames(feed.hub.base_frame, feed.hub.odom_frame))
        if state is not None and (asked_ns is None or not 0 <= graph.now_ns - asked_ns < PLAN_PERIOD_S * NANOSECONDS):
            asked_ns = graph.now_ns
            response = stack.plan(request_ahead(log.occupancy[state.stamp_ns], ahead_m))
            log.answered(response)
            replayed.plans.append(plan_record(response, state.stamp_ns))
        progress(log.frames_in)
    for raw in messages(None):
        _hand_on(raw, recording, graph, clock)
    progress(log.frames_in)
    if not log.surprise:
        raise BagError(f"{info.path}: no frame came through: {_reasons(feed.hub.status(), stack.errors)}")


def _reasons(inputs: Mapping[str, InputStatus], errors: Mapping[str, int]) -> str:
    """What was counted against each input, and the steps that failed."""
    counts = [f"{name}: {count} x {reason}" for name, status in inputs.items() for reason, count in status.malformed.items()]
    counts += [f"step: {count} x {error}" for error, count in errors.items()]
    return "; ".join(counts) or "nothing was counted against any input"


def _hand_on(raw: RawMessage, recording: Recording, graph: Graph, clock: BagClock) -> None:
    """A recorded message, as the player would publish it."""
    graph.now_ns = clock.at(raw.log_time_ns)
    recording.write_input(raw.topic, graph.now_ns, raw.data)
    graph.deliver(raw.topic, raw.data)


def _until(messages: Iterator[RawMessage]) -> Callable[[int | None], Iterator[RawMessage]]:
    """A function that gives the messages up to a log time which it has not given yet; None = all that is left."""
    waiting: list[RawMessage] = []

    def until(log_time_ns: int | None) -> Iterator[RawMessage]:
        while True:
            if not waiting:
                following = next(messages, None)
                if following is None:
                    return
                waiting.append(following)
            if log_time_ns is not None and waiting[0].log_time_ns > log_time_ns:
                return
            yield waiting.pop()

    return until


def plan_record(response: Any, scene_ns: int) -> dict[str, Any]:
    """A plan as plain values, without the time that it took."""
    return {
        "asked_at_stamp_ns": scene_ns,
        "status": PlanStatus(response.status.code).name,
        "message": response.status.message,
        "fallback": response.fallback,
        "reaches_goal": response.reaches_goal,
        "distance_to_goal_m": finite(response.distance_to_goal_m),
        "collision_probability": finite(response.collision_probability),
        "cost": finite(response.cost),
        "path": [[pose.pose.position.x, pose.pose.position.y] for pose in response.path.poses],
    }


def finite(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def digest(value: Any) -> str:
    """SHA-256 of a value as JSON, in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
