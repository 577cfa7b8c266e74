"""Files and requests that somebody made to do harm: each is refused with a reason, in time, and nothing of it is executed."""

from __future__ import annotations

import json
import math
import os
import pickle
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sensor_msgs.msg import CompressedImage

from experiments.faults.robot import Robot
from jepa_ros.backends import load_world_model
from jepa_ros.msg import LatentState
from jepa_ros.sensing import bag_info, open_bag
from jepa_ros.sensing.decode.image import decode_compressed_image
from jepa_ros.srv import Imagine, PlanActions, PlanPath
from jepa_ros.types import PlanStatus
from jepa_ros.weights import find_weights

ANSWER_S = 3.0  # a hostile request is answered by then, or it has done harm
START_S = 60.0
HUGE = 10**9


@dataclass(frozen=True)
class Refused:
    """What came of one of them."""

    name: str
    held: bool
    said: str


class Bomb:
    """Its pickle leaves a file behind where it is executed."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self._mark}",)


def hostile_files(folder: Path) -> list[Refused]:
    """Checkpoints and bags, opened as users do."""
    mark = folder / "executed"
    everything = {**_checkpoints(folder, mark), **_bags(folder, mark), **_images()}
    return [_file_refused(name, action, mark) for name, action in everything.items()]


def hostile_parameters(folder: Path) -> list[Refused]:
    """Parameter files, each given to a planner of its own."""
    return [_parameters_refused(name, text, folder) for name, text in PARAMETER_FILES.items()]


def _checkpoints(folder: Path, mark: Path) -> dict[str, Callable[[], Any]]:
    good = find_weights("scene_jepa.safetensors").read_bytes()
    header = json.dumps({"w": {"dtype": "F32", "shape": [HUGE, HUGE], "data_offsets": [0, 4 * HUGE * HUGE]}}).encode()
    contents = {
        "cut short": good[: len(good) // 2],
        "empty": b"",
        "a header of 2^62 bytes": struct.pack("<Q", 2**62) + good[8:],
        "a tensor of 10^18 values": struct.pack("<Q", len(header)) + header,
        "a pickle with code": pickle.dumps({"model": Bomb(mark)}),
        "one flipped byte in its header": good[:40] + bytes([good[40] ^ 255]) + good[41:],
        "no safetensors at all": np.random.default_rng(0).bytes(100_000),
        "a configuration of 10^9 channels": reconfigured(good, width=HUGE),
    }
    actions = {}
    for index, (name, content) in enumerate(contents.items()):
        path = folder / f"weights_{index}.safetensors"
        path.write_bytes(content)
        actions[f"weights: {name}"] = lambda path=path: load_world_model("scene_jepa", device="cpu", weights=str(path))
    return actions


def _bags(folder: Path, mark: Path) -> dict[str, Callable[[], Any]]:
    rng = np.random.default_rng(0)
    contents = {
        "random bytes.mcap": rng.bytes(50_000),
        "magic, then random bytes.mcap": b"\x89MCAP0\r\n" + rng.bytes(50_000),
        "a record of 2^60 bytes.mcap": b"\x89MCAP0\r\n" + struct.pack("<BQ", 1, 2**60) + b"x" * 100,
        "empty.mcap": b"",
        "random bytes.db3": rng.bytes(50_000),
        "SQLite magic, then random bytes.db3": b"SQLite format 3\x00" + rng.bytes(50_000),
        "ROS 1.bag": b"#ROSBAG V2.0\n" + rng.bytes(1000),
    }
    actions: dict[str, Callable[[], Any]] = {}
    for name, content in contents.items():
        path = folder / name
        path.write_bytes(content)
        actions[f"bag: {name}"] = lambda path=path: list(open_bag(path))
    os.mkfifo(folder / "a pipe.mcap")  # who opens it waits for good
    (folder / "itself").mkdir()
    (folder / "itself" / "itself.mcap").symlink_to("itself.mcap")
    for name in ("a pipe.mcap", "itself"):
        actions[f"bag: {name}"] = lambda path=folder / name: list(open_bag(path))
    odd = folder / "odd_folder"
    odd.mkdir()
    (odd / "metadata.yaml").write_text(f"!!python/object/apply:os.system ['touch {mark}']\n")
    actions["bag: metadata.yaml with code"] = lambda: bag_info(odd)
    return actions


def reconfigured(weights: bytes, **changes: int) -> bytes:
    """A safetensors file of ours whose configuration claims other sizes."""
    length = struct.unpack("<Q", weights[:8])[0]
    header = json.loads(weights[8 : 8 + length])
    header["__metadata__"]["config"] = json.dumps(json.loads(header["__metadata__"]["config"]) | changes)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + weights[8 + length :]


def large_png(side: int) -> bytes:
    """A black picture of side x side pixels, in a ten-thousandth of that many bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = [packer.compress(bytes(1 + (side + 7) // 8)) for _ in range(side)]
    picture = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)) + chunk(b"IDAT", b"".join(rows) + packer.flush())
    return b"\x89PNG\r\n\x1a\n" + picture + chunk(b"IEND", b"")


def _images() -> dict[str, Callable[[], Any]]:
    bomb = CompressedImage(format="png", data=large_png(15_000))
    return {"image: 225 megapixels in 27 kB": lambda: decode_compressed_image(bomb)}


def _file_refused(name: str, action: Callable[[], Any], mark: Path) -> Refused:
    begun_s = time.monotonic()
    try:
        action()
    except ValueError as error:
        in_time = time.monotonic() - begun_s < START_S
        return Refused(name, in_time and not mark.exists(), " ".join(str(error).split()))
    except Exception as error:
        return Refused(name, False, f"not told as a ValueError: {type(error).__name__}: {error}")
    return Refused(name, False, "was taken")


PARAMETER_FILES = {
    "a deadline that is no number": "default_deadline_s: .nan",
    "a speed that is infinite": "planner.limits.max_speed_mps: .inf",
    "a word for a number": "threads: many",
    "10^9 threads": f"threads: {HUGE}",
    "a list for a word": "model: [a, b]",
    "a name of a million letters": "model: " + "x" * 1_000_000,
    "a name that stands for itself, again and again": "model: &a [*a, *a]",
    "code": "model: !!python/object/apply:os.system ['touch {mark}']",
}


def _parameters_refused(name: str, line: str, folder: Path) -> Refused:
    mark = folder / "executed"
    path = folder / "parameters.yaml"
    path.write_text(f"planner:\n  ros__parameters:\n    autostart: false\n    {line.replace('{mark}', str(mark))}\n")
    command = [sys.executable, "-m", "jepa_ros.ros", "planner", "--ros-args", "--params-file", str(path)]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=START_S, check=False)
    except subprocess.TimeoutExpired:
        return Refused(f"parameters: {name}", False, "the node started with it")
    said = " ".join((ended.stderr or ended.stdout).split())
    return Refused(f"parameters: {name}", ended.returncode > 0 and "Traceback" not in said and not mark.exists(), said)


def hostile_requests(robot: Robot) -> list[Refused]:
    """Requests to the running planner, once it has loaded the model that imagines: until then it answers all alike."""
    first = Imagine.Request(candidates=1, steps=1, poses=[0.0] * 3, deadline=0.5)

    def loaded() -> bool:
        status = _asked(robot, Imagine, "imagine", first)
        return status is not None and status.code != PlanStatus.TIMEOUT

    if not robot.wait(loaded, START_S):
        return [Refused("imagine", False, f"the model is not there after {START_S:.0f} s")]
    return [_request_refused(robot, name, kind, service, request) for name, (kind, service, request) in _requests().items()]


def _asked(robot: Robot, kind: Any, service: str, request: Any) -> Any:
    """The status of the answer; None where there is none in time."""
    client = robot.node.create_client(kind, f"/planner/{service}")
    try:
        if not robot.wait(client.service_is_ready, ANSWER_S):
            return None
        future = client.call_async(request)
        answered = threading.Event()
        future.add_done_callback(lambda _: answered.set())
        return future.result().status if answered.wait(ANSWER_S) else None
    finally:
        robot.node.destroy_client(client)


def _requests() -> dict[str, tuple[Any, str, Any]]:
    nan, inf = math.nan, math.inf
    found: dict[str, tuple[Any, str, Any]] = {}
    for name, x, deadline in (
        ("a goal that is no number", nan, 0.2),
        ("a goal at infinity", inf, 0.2),
        ("a goal 10^38 m away", 1e38, 0.2),
        ("a deadline that is no number", 2.0, nan),
        ("a deadline of minus one", 2.0, -1.0),
        ("a deadline of 10^38 s", 2.0, 1e38),
    ):
        request = PlanPath.Request(deadline=deadline)
        request.goal.header.frame_id, request.goal.pose.position.x = "base_link", x
        found[f"plan_path: {name}"] = PlanPath, "plan_path", request
    for name, frame in (("a frame of 10^6 letters", "f" * 10**6), ("an empty frame", ""), ("a frame with a zero byte", "a\\0b")):
        request = PlanPath.Request(deadline=0.2)
        request.goal.header.frame_id = frame
        found[f"plan_path: {name}"] = PlanPath, "plan_path", request
    for name, candidates, steps, poses in (
        ("10^9 candidates without poses", HUGE, 12, []),
        ("4 * 10^9 steps", 1, 2**32 - 1, []),
        ("sizes whose product wraps to 3", 2**31, 2**31, [0.0] * 3),
        ("poses that are no numbers", 2, 2, [nan] * 12),
        ("poses at infinity", 2, 2, [inf] * 12),
        ("no candidate", 0, 0, []),
        ("100,000 candidates", 100_000, 12, [0.0] * 3_600_000),
    ):
        found[f"imagine: {name}"] = Imagine, "imagine", Imagine.Request(candidates=candidates, steps=steps, poses=poses, deadline=0.5)
    actions = PlanActions.Request(deadline=0.5, horizon=2**32 - 1)
    actions.goal_image.height = actions.goal_image.width = 2**32 - 1
    found["plan_actions: an image of 2^64 pixels without data"] = PlanActions, "plan_actions", actions
    found["plan_actions: nothing at all"] = PlanActions, "plan_actions", PlanActions.Request(goal_latent=LatentState(), deadline=0.5)
    return found


def _request_refused(robot: Robot, name: str, kind: Any, service: str, request: Any) -> Refused:
    status = _asked(robot, kind, service, request)
    if status is None:
        return Refused(name, False, f"no answer within {ANSWER_S:.0f} s")
    code = PlanStatus(status.code)
    # A very long deadline may be answered with a plan; all else is refused for what it is, never by a fault of ours or for want of time.
    fine = code not in (PlanStatus.INTERNAL_ERROR, PlanStatus.TIMEOUT) and (code is not PlanStatus.OK or "deadline" in name)
    return Refused(name, fine and robot.processes["planner"].running(), f"{code.name}: {status.message[:150]}")
