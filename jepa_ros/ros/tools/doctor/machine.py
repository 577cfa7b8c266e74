"""The doctor's checks of this machine: transport, socket buffers, processors, model and weights."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import rclpy
import torch

from jepa_ros.ros.machine import MEGABYTE, transport_problems
from jepa_ros.ros.tools.doctor.findings import Finding, error, good, warning

SHM_FIX = "set the profile of config/fastdds.xml here and where the drivers start, with room in /dev/shm (--shm-size=1g)"


@dataclass(frozen=True)
class MachineFacts:
    """What is looked up once; tests make it up."""

    middleware: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    shared_memory: Path = Path("/dev/shm")
    receive_buffer_bytes: int | None = None  # the most that a socket may ask for; None = not known
    load: float = 0.0  # processes that want to run, mean of a minute
    cores: int = 1
    free_memory_bytes: int | None = None
    has_gpu: bool = False  # a device file of one is there
    torch_sees_gpu: bool = False

    @classmethod
    def of_this_machine(cls) -> MachineFacts:
        return cls(
            middleware=rclpy.get_rmw_implementation_identifier(),
            environment=os.environ,
            receive_buffer_bytes=_number("/proc/sys/net/core/rmem_max"),
            load=os.getloadavg()[0],
            cores=len(os.sched_getaffinity(0)),
            free_memory_bytes=_free_memory(),
            has_gpu=Path("/dev/nvidia0").exists(),
            torch_sees_gpu=torch.cuda.is_available(),
        )


ENOUGH_MEMORY = 1 << 30


def machine_findings(facts: MachineFacts, largest_bytes: int, from_elsewhere: bool) -> Iterator[Finding]:
    """largest_bytes: of the messages that came; from_elsewhere: whether some publisher runs on another machine."""
    problems = transport_problems(facts.middleware, facts.environment, facts.shared_memory)
    for problem in problems:
        text, _, fix = problem.partition(": ")
        yield warning("DDS", text, fix or SHM_FIX)
    buffer = facts.receive_buffer_bytes
    if buffer is not None and buffer < largest_bytes and (from_elsewhere or problems):
        text = f"messages of {largest_bytes / MEGABYTE:.1f} MB come over the network, and a socket may hold {buffer / MEGABYTE:.1f} MB"
        yield warning("DDS", text, f"sudo sysctl -w net.core.rmem_max={1 << max(largest_bytes * 4, 1 << 23).bit_length()} on both machines")
    elif not problems:
        yield good("DDS", f"{facts.middleware}, shared memory has room")
    if facts.load > facts.cores:
        text = f"{facts.load:.1f} processes want to run on {facts.cores} cores"
        yield warning("processor", text, "see `top`; end what is not needed, or give the nodes cores of their own (taskset, cpuset)")
    else:
        yield good("processor", f"load {facts.load:.1f} on {facts.cores} cores")
    if facts.free_memory_bytes is not None and facts.free_memory_bytes < ENOUGH_MEMORY:
        text = f"{facts.free_memory_bytes / MEGABYTE:.0f} MB are free, the nodes take about {ENOUGH_MEMORY / MEGABYTE:.0f} MB"
        yield warning("memory", text, "end what is not needed: the kernel would end the nodes")
    if facts.has_gpu and not facts.torch_sees_gpu:
        yield warning(
            "GPU", "there is one, but torch cannot use it", "install torch for its CUDA version (docs/install.md), --gpus all in Docker"
        )


def discovery_findings(environment: Mapping[str, str], hears_sensors: bool) -> Iterator[Finding]:
    """Whether this shell's variables keep other machines' nodes away. hears_sensors: whether any sensor was found."""
    only_here = environment.get("ROS_LOCALHOST_ONLY", "") not in ("", "0")
    asked = environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "")
    if only_here and asked and asked != "LOCALHOST":
        text = f"ROS_LOCALHOST_ONLY is set, so that ROS_AUTOMATIC_DISCOVERY_RANGE={asked} counts for nothing: only this machine is heard"
        yield warning("DDS", text, "unset ROS_LOCALHOST_ONLY, here and where the drivers start")
    elif not hears_sensors and (only_here or asked in ("LOCALHOST", "OFF")):
        name = "ROS_LOCALHOST_ONLY=1" if only_here else f"ROS_AUTOMATIC_DISCOVERY_RANGE={asked}"
        fix = "if the drivers run on another machine: export ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET, unset ROS_LOCALHOST_ONLY, here and there"
        yield warning("DDS", f"{name}: {'nobody' if asked == 'OFF' else 'no other machine'} is heard", fix)


def configuration_refused(text: str) -> Finding:
    """The nodes would end with exit status 78."""
    return error("parameters", text, "correct this value; `ros2 param describe /world_model NAME` says what it may be")


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


def _free_memory() -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return None
