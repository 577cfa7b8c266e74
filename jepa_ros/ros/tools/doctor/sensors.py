"""The doctor's checks of the sensors: which are used, how they arrive, and whether they are usable. The rules are the nodes' own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from jepa_ros.backends.surprise import OFF_STEP
from jepa_ros.ros.tools.doctor.findings import Finding, error, good, warning
from jepa_ros.ros.tools.doctor.heard import Heard, ListeningHub
from jepa_ros.ros.tools.run_report import MODEL_STEP_S
from jepa_ros.sensing import InputStatus
from jepa_ros.sensing.hub.status import ADVICE
from jepa_ros.sensing.topic_choice.rule import NOT_YET
from jepa_ros.sensing.topic_choice.verdicts import Verdict
from jepa_ros.types import LidarSweep

LEAST_RATE_HZ = 1 / ((1 + OFF_STEP) * MODEL_STEP_S)  # of frames; with fewer no prediction is judged
LATE_S, AHEAD_S = 0.5, 0.1  # of a stamp on arrival
TF_LATE_S = 1.0
ENOUGH_SHARE = 0.1  # of an input's messages: fewer that cannot be used are no finding
KNOWN_OFFSETS_S = {37.0: "PTP's time (TAI) is 37 s ahead of UTC", 18.0: "GPS time is 18 s ahead of UTC"}
LAYER_M = 0.2  # of returns that count as one level
FLOOR_CELLS, FLOOR_TIMES = 40, 5.0  # square metres that a floor covers at least, and how many times as much as any layer on the other side
TRANSFORM_FIX = "start what publishes it (robot_state_publisher, the odometry), or raise its rate"


def choice_findings(verdicts: tuple[Verdict, ...]) -> Iterator[Finding]:
    """What was taken and left. A candidate that is merely not wanted is right; a broken one is not."""
    taken_roles = {verdict.role for verdict in verdicts if verdict.taken}
    for verdict in verdicts:
        text = str(verdict).split(": ", 1)[1]
        if verdict.fix:
            yield (warning if verdict.taken or verdict.role in taken_roles else error)(verdict.topic, text, verdict.fix)
        elif verdict.why == NOT_YET and verdict.role not in taken_roles:
            fix = f"see whether its driver sends: ros2 topic hz {verdict.topic}; the same ROS_DOMAIN_ID and network?"
            yield error(verdict.topic, text, fix)
        else:
            yield good(verdict.topic, text)
    if not {"lidar", "camera"} & taken_roles:
        fix = "start the drivers; the same ROS_DOMAIN_ID and namespace as the nodes: ros2 topic list -t"
        yield error("sensors", "no cloud and no image can be used", fix)
    elif "odometry" not in taken_roles:
        fix = "publish nav_msgs/Odometry, or /tf from odom to base_link: without it the ego motion is not known"
        yield warning("odometry", "there is none", fix)


def input_findings(now: Mapping[str, InputStatus], before: Mapping[str, InputStatus]) -> Iterator[Finding]:
    """`before`: when the robot had settled; what was missing while everything was being found is no fault."""
    for name, status in now.items():
        earlier = before[name].malformed if name in before else {}
        fresh = Counter(status.malformed) - Counter(earlier)
        count = status.received - (before[name].received if name in before else 0)
        for reason, times in sorted(fresh.items()):
            if times < min(count, max(2, ENOUGH_SHARE * count)):
                continue  # a machine that is busy for a moment
            meaning, _, fix = ADVICE.get(reason, reason).partition(": ")
            text = f"{times} of {count} messages cannot be used: {reason} ({meaning})"
            yield (error if times >= count else warning)(name, text, fix or f"repair what its driver sends: ros2 topic echo --once {name}")
        for notice in status.notices.values():
            text, _, fix = notice.partition(": ")
            yield warning(name, text, fix or "docs/frames_and_time.md says what it means and what to set")


def rate_findings(heard: Mapping[str, Heard], leader: str | None, kinds: Mapping[str, InputStatus]) -> Iterator[Finding]:
    """Rates and stamps of what is used."""
    for name, input_heard in heard.items():
        rate_hz, age_s = input_heard.rate_hz, input_heard.age_s
        is_frame = name == leader or (leader is None and kinds[name].kind == "camera")
        if rate_hz is not None:
            if is_frame and rate_hz < LEAST_RATE_HZ:
                text = f"{rate_hz:.1f} Hz: predictions are judged {MODEL_STEP_S:g} s ahead, which takes {LEAST_RATE_HZ:.1f} Hz"
                yield warning(name, text, "raise the rate of its driver: 10 Hz is usual for a lidar")
            else:
                yield good(name, f"{rate_hz:.1f} Hz, stamps {age_s * 1e3:.0f} ms old on arrival")
        if input_heard.slashed:
            yield _slash(name, input_heard.frame)
        if not -AHEAD_S <= age_s <= LATE_S:
            yield warning(name, f"its stamps are {_apart(age_s)} the clock", _clock_fix(age_s))


def _slash(what: str, frame: str) -> Finding:
    """We take it; tf2 has refused such names since ROS 2 began, so RViz, Nav2 and message filters drop what is stamped with it."""
    return warning(what, f"its frame is /{frame}: tf2, and with it RViz and Nav2, takes no slash", f"frame_id: {frame} in its driver")


def mount_findings(sweeps: Iterable[LidarSweep], names: str) -> Iterator[Finding]:
    """A lidar whose mount is told the wrong way up: what spreads like a floor lies above it alone. names: of lidars."""
    spread = [level_spread(sweep) for sweep in sweeps]
    if spread and all(above >= FLOOR_CELLS and above > FLOOR_TIMES * below for below, above in spread):
        fix = "turn its mount by 180 degrees about x in the URDF or static transform, or tell its driver that it hangs upside down"
        yield error(names, "the floor is above it: its mount on TF is upside down", fix)


def level_spread(sweep: LidarSweep) -> tuple[int, int]:
    """How many square metres the widest level layer of returns covers: (below the lidar, above it)."""
    height_m = sweep.points_m[:, 2] - sweep.base_from_lidar[2, 3]
    layers = np.column_stack((np.floor(height_m / LAYER_M), np.floor(sweep.points_m[:, :2]))).astype(np.int64)
    layer, cells = np.unique(np.unique(layers, axis=0)[:, 0], return_counts=True)
    return int(cells[layer < 0].max(initial=0)), int(cells[layer >= 0].max(initial=0))


def _apart(age_s: float) -> str:
    return f"{age_s:.1f} s behind" if age_s > 0 else f"{-age_s:.1f} s ahead of"


def _clock_fix(age_s: float) -> str:
    for offset_s, meaning in KNOWN_OFFSETS_S.items():
        if abs(abs(age_s) - offset_s) < 1.0:
            return f"{meaning}: set the driver's UTC offset"
    if abs(age_s) > 1e6:
        return (
            "a recording, a simulator, or time since power-up: use_sim_time:=true with /clock, or let the driver stamp with the host's time"
        )
    return "synchronise the clocks (chrony, PTP), or let the driver stamp with the host's time"


def transform_findings(hub: ListeningHub, now_s: float) -> Iterator[Finding]:
    """/tf between the sensors, the base and the odometry: silent, or of another time. now_s: steady."""
    frames = {hub.base_frame, *(known.frame for known in hub.heard.values())}
    carrying = {frame for start in frames for frame in hub.above(start)}
    for child in sorted(carrying & hub.claims.keys()):
        if len(hub.claims[child]) > 1:
            parents = " and ".join(sorted(hub.claims[child]))
            fix = "one node may place a frame: switch off publishing of TF in the other (publish_tf: false)"
            yield error(f"/tf {child}", f"it has two parents in turn, {parents}: the tree keeps breaking", fix)
    for child, edge in hub.edges.items():
        if child not in carrying:
            continue
        what = f"/tf {hub.parents[child]} -> {child}"
        if edge.slashed:
            yield _slash(what, edge.frame)
        if len(hub.claims[child]) == 1 and edge.swings_m is not None:
            text = f"two nodes publish it in turn, {edge.swings_m:.1f} m apart: everything that is placed by it jumps"
            yield error(what, text, "let one publish it: publish_tf: false in the other (the base's driver, the EKF, the SLAM)")
        if now_s - edge.last_s > TF_LATE_S:
            yield warning(what, f"silent for {now_s - edge.last_s:.1f} s", TRANSFORM_FIX)
        elif not -TF_LATE_S <= edge.age_s <= TF_LATE_S:
            yield warning(what, f"its stamps are {_apart(edge.age_s)} the clock", _clock_fix(edge.age_s))
        else:
            yield good(what, f"{edge.age_s * 1e3:.0f} ms old on arrival")
