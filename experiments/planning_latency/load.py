"""`make bench-planning-load`: does every request get its answer by its deadline, whatever the machine is doing?

    python -m experiments.planning_latency.load [--requests 10000] [--clients 4] [--load 0]

The planner node runs as a process of its own and hears a made-up crowd at 10 Hz over DDS. Clients, each a process of its own, ask for
paths and imagined futures one after the other, with random deadlines. Lateness is what an answer took beyond its deadline: at the
clients by their own clock, from just before the request is sent to when the answer is in their hands; at the service from when a request
was read to when its answer was handed to DDS, as the node reports on /diagnostics. Prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import multiprocessing.connection
import os
import random
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import Pose, PoseStamped, Quaternion
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from experiments.common import busy, processor
from experiments.planning_latency.crowd import FRAMES, Crowd, prefer_this_thread
from jepa_ros.backends import load_world_model
from jepa_ros.ros import conversions
from jepa_ros.ros.planner.config import PlannerNodeConfig
from jepa_ros.ros.tools.node_process import NodeProcess
from jepa_ros.srv import Imagine, PlanPath
from jepa_ros.types import PlanStatus

DEADLINES_S = (0.02, 0.5)
IMAGINE_SHARE = 0.2
CANDIDATES, STEPS = 16, 12
PATIENCE_S = 5.0  # an answer that is later than this is none
SETTLED = 0.1  # share of the requests after which memory is first looked at


@dataclass(frozen=True)
class Asked:
    """One request and what came of it."""

    kind: str
    deadline_s: float
    took_s: float  # infinite where no answer came
    status: str


def client(number: int, requests: int, results: Connection) -> None:
    """Ask `requests` times; a process of its own."""
    generator = random.Random(number)
    prefer_this_thread()
    gc.disable()  # a pause here would be taken for the planner's
    rclpy.init()
    node = Node(f"load_client_{number}")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    clients = {"plan_path": node.create_client(PlanPath, "/planner/plan_path"), "imagine": node.create_client(Imagine, "/planner/imagine")}
    for one in clients.values():
        one.wait_for_service()
    time.sleep(1.0)  # that we know the planner does not mean that it knows us
    for _ in range(requests):
        deadline_s = generator.uniform(*DEADLINES_S)
        kind = "imagine" if generator.random() < IMAGINE_SHARE else "plan_path"
        request = imagine_request(generator, deadline_s) if kind == "imagine" else path_request(generator, deadline_s)
        sent_s = time.monotonic()
        future = clients[kind].call_async(request)
        executor.spin_until_future_complete(future, deadline_s + PATIENCE_S)
        took_s = time.monotonic() - sent_s
        status = PlanStatus(future.result().status.code).name if future.done() else "UNANSWERED"
        results.send(Asked(kind, deadline_s, took_s if future.done() else float("inf"), status))
    node.destroy_node()
    rclpy.try_shutdown()


def path_request(generator: random.Random, deadline_s: float) -> PlanPath.Request:
    """A plan_path request to a random goal within 8 m."""
    pose = Pose(orientation=Quaternion(x=0.0, y=0.0, z=0.0, w=0.0))
    pose.position.x, pose.position.y = generator.uniform(-8.0, 8.0), generator.uniform(-8.0, 8.0)
    return PlanPath.Request(goal=PoseStamped(header=conversions.header_message(0, FRAMES.fixed), pose=pose), deadline=deadline_s)


def imagine_request(generator: random.Random, deadline_s: float) -> Imagine.Request:
    """An imagine request of straight motions at random speeds."""
    speed = np.array([generator.uniform(0.0, 1.5) for _ in range(CANDIDATES)])
    ahead_SL = speed[:, None] * 0.4 * np.arange(1, STEPS + 1)
    poses = np.stack((ahead_SL, 0 * ahead_SL, 0 * ahead_SL), axis=-1)
    return Imagine.Request(candidates=CANDIDATES, steps=STEPS, poses=poses.flatten().tolist(), deadline=deadline_s)


def resident_mb(pid: int) -> float:
    """Memory that a process holds, MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def collect(requests: int, clients: int, pid: int) -> tuple[list[Asked], tuple[float, float]]:
    """Run the clients; all that they asked, and the node's memory once settled and at the end, MB."""
    pipes: list[Connection] = []
    processes = []
    for number in range(clients):
        receive, send = multiprocessing.Pipe(duplex=False)
        share = requests // clients + (number < requests % clients)
        process = multiprocessing.Process(target=client, args=(number, share, send), daemon=True)
        processes.append(process)
        pipes.append(receive)
        process.start()
        send.close()  # the client's end is its own: when it ends, so does the pipe
    asked: list[Asked] = []
    settled_mb = 0.0
    while pipes:
        for pipe in multiprocessing.connection.wait(pipes):
            assert isinstance(pipe, Connection)
            try:
                asked.append(pipe.recv())
            except EOFError:
                pipes.remove(pipe)
        if not settled_mb and len(asked) >= SETTLED * requests:
            settled_mb = resident_mb(pid)
    for process in processes:
        process.join(10.0)
    return asked, (settled_mb, resident_mb(pid))


def late_ms(asked: list[Asked]) -> dict[str, float]:
    """How late answers came, in ms: percentiles, maximum, and the share above 10 ms."""
    late = 1e3 * np.array([max(0.0, one.took_s - one.deadline_s) for one in asked if one.status != "UNANSWERED"])
    p50, p99, p999 = np.percentile(late, (50, 99, 99.9)).tolist()
    return {"p50": p50, "p99": p99, "p99.9": p999, "max": float(late.max()), "share_over_10": float((late > 10.0).mean())}


def report(asked: list[Asked], memory_mb: tuple[float, float], diagnostics: dict[str, str], arguments: argparse.Namespace) -> None:
    """Prints the tables of a run and its JSON line."""
    kinds = sorted({one.kind for one in asked})
    rows = {kind: late_ms([one for one in asked if one.kind == kind]) for kind in kinds} | {"all": late_ms(asked)}
    print(f"{'late at the client, ms':<24}{'p50':>8}{'p99':>8}{'p99.9':>8}{'max':>8}{'>10 ms':>9}")
    for name, row in rows.items():
        print(f"{name:<24}{row['p50']:>8.1f}{row['p99']:>8.1f}{row['p99.9']:>8.1f}{row['max']:>8.1f}{row['share_over_10']:>9.2%}")
    service = {key: value for key, value in diagnostics.items() if key.startswith("late.")}
    print("late at the service:", ", ".join(f"{key} {value}" for key, value in service.items()))
    statuses = {kind: dict(Counter(one.status for one in asked if one.kind == kind)) for kind in kinds}
    print(f"statuses: {statuses}; memory of the node {memory_mb[0]:.1f} -> {memory_mb[1]:.1f} MB")
    unanswered = sum(one.status == "UNANSWERED" for one in asked)
    about = {
        "requests": len(asked),
        "clients": arguments.clients,
        "load": arguments.load,
        "nice": arguments.nice,
        "machine": processor(),
    }
    found = {"late_ms": rows, "service": service, "statuses": statuses, "unanswered": unanswered, "memory_mb": memory_mb}
    print(json.dumps({"bench": "planning_load", **about, **found}))


def main(argv: list[str] | None = None) -> int:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="make bench-planning-load", description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--load", type=int, default=0, help="processes that keep the machine busy (default: %(default)s)")
    parser.add_argument(
        "--nice", type=int, default=PlannerNodeConfig().nice, help="of the planner; 0 = as without the right (default: %(default)s)"
    )
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--model", default="scene_jepa", help="back-end that imagines (default: %(default)s)")
    arguments = parser.parse_args(argv)
    multiprocessing.set_start_method("spawn")
    spec = load_world_model(arguments.model, device="cpu").spec
    rclpy.init()
    parameters: dict[str, Any] = {"autostart": True, "model_at_start": True, "model": arguments.model, "nice": arguments.nice}
    with tempfile.TemporaryDirectory() as folder, NodeProcess("planner", parameters, Path(folder)) as planner:
        crowd = Crowd(arguments.people, spec)
        try:
            crowd.wait_until_heard(planner.check)
            with busy(arguments.load):
                asked, memory_mb = collect(arguments.requests, arguments.clients, planner.pid)
            planner.check()
            time.sleep(1.5)  # the last diagnostics
            report(asked, memory_mb, crowd.diagnostics, arguments)
        finally:
            crowd.close()
            rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
