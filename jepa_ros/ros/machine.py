"""Checks whether large messages can arrive on this machine, and names the fix if not. What to do where shared memory is full."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from xml.etree import ElementTree

PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
TRANSPORTS_VARIABLE = "FASTDDS_BUILTIN_TRANSPORTS"  # of Fast DDS from 2.12 on
NOTE_VARIABLE = "JEPA_ROS_TRANSPORT"  # what `avoid_full_memory` said, for the node's own report
OUR_PROFILE = "jepa_ros_shm"  # names the transport in config/fastdds.xml
LEAST_FREE = 1 << 16  # bytes; with less, libraries that ROS 2 itself loads (LTTng) end the process when they are loaded
LEAST_SEGMENT = 1 << 21  # bytes; Fast DDS's own segment, with its ports
SEGMENTS = 2  # ours and a driver's, at least
MEGABYTE = 1 << 20
SEGMENT_LOCK = re.compile(r"(fastdds_[0-9a-z]{16})_el")  # Fast DDS's name of the file that a segment's owner keeps locked while it lives
YOUNG_S = 30.0  # a segment's lock is taken a moment after its file is made; a younger one is left alone
EXPORT = "export FASTDDS_DEFAULT_PROFILES_FILE=$(ros2 pkg prefix --share jepa_ros)/config/fastdds.xml"


def transport_problems(middleware: str, environment: Mapping[str, str], shared_memory: Path = Path("/dev/shm")) -> list[str]:
    """Of Fast DDS; other middlewares have no such profile. middleware: as rclpy.get_rmw_implementation_identifier() names it."""
    if "fastrtps" not in middleware:
        return []
    if note := environment.get(NOTE_VARIABLE):
        return [note]
    profiles = [environment[name] for name in PROFILE_VARIABLES if environment.get(name)]
    if not profiles:
        return [f"no Fast DDS profile is set, so most large images and clouds will be lost: {EXPORT} (here and where the drivers start)"]
    segment_bytes = segment_size(Path(profiles[0]))
    try:
        room = os.statvfs(shared_memory)
    except OSError as error:
        return [f"{shared_memory} cannot be used ({error}): large messages will be lost; mount a tmpfs there"]
    size = room.f_blocks * room.f_frsize
    if size >= SEGMENTS * segment_bytes:
        return []
    return [
        f"{shared_memory} holds {size // MEGABYTE} MB, and the shared-memory profile asks for {segment_bytes // MEGABYTE} MB a process, "
        "so large messages will be lost: docker run --shm-size=1g (or --ipc=host)"
    ]


def full_memory(shared_memory: Path = Path("/dev/shm")) -> str:
    """To be called before ROS 2 is imported: why no node can start here; empty where one can."""
    try:
        room = os.statvfs(shared_memory)
    except OSError:
        return ""
    if room.f_bavail * room.f_frsize >= LEAST_FREE:
        return ""
    return f"{shared_memory} is full, and a ROS 2 process that writes there is ended by the kernel (SIGBUS): remove what fills it"


def remove_dead_segments(shared_memory: Path = Path("/dev/shm")) -> int:
    """Remove the segments of Fast DDS processes that were killed. Nobody else does, and with our profile each holds 134 MB for ever.

    Whose lock can be taken has no owner left, which is how Fast DDS's own `shm clean` tells them. Returns how many were removed; what
    another user owns stays.
    """
    removed = 0
    for lock in shared_memory.glob("fastdds_*_el"):
        name = SEGMENT_LOCK.fullmatch(lock.name)
        try:
            if not name or time.time() - lock.stat().st_mtime < YOUNG_S:
                continue
            with lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (shared_memory / name[1]).unlink(missing_ok=True)
                lock.unlink(missing_ok=True)
        except OSError:  # its owner lives, it is somebody else's, or another node that starts was quicker
            continue
        removed += 1
    return removed


def avoid_full_memory(environment: MutableMapping[str, str], shared_memory: Path = Path("/dev/shm")) -> str:
    """To be called before the middleware starts. Where a segment does not fit, Fast DDS is told to use UDP alone: by itself it does so with
    "not supported in the current platform". What was done and what helps; empty where there is room.

    A profile that is not ours may hold more than transports: it stays, with the warning.
    """
    profiles = [environment[name] for name in PROFILE_VARIABLES if environment.get(name)]
    needed = max(segment_size(Path(profiles[0])) if profiles else 0, LEAST_SEGMENT)
    try:
        room = os.statvfs(shared_memory)
    except OSError:
        return ""  # there is none: Fast DDS finds out by itself
    free = room.f_bavail * room.f_frsize
    if free >= needed:
        return ""
    ours = not profiles or _names(Path(profiles[0]), OUR_PROFILE)
    if ours:
        for name in PROFILE_VARIABLES:
            environment.pop(name, None)
        environment[TRANSPORTS_VARIABLE] = "UDPv4"
    done = "UDP is used instead and most large messages will be lost" if ours else f"{profiles[0]} is used all the same"
    note = (
        f"{shared_memory} has {free / MEGABYTE:.0f} MB left, a segment takes {needed / MEGABYTE:.0f} MB: {done}; remove what fills it "
        f"(ls {shared_memory}; segments of processes that were killed: fastdds shm clean), or docker run --shm-size=1g"
    )
    environment[NOTE_VARIABLE] = note
    return note


def _names(profile: Path, word: str) -> bool:
    try:
        return word in profile.read_text()
    except (OSError, UnicodeDecodeError):
        return False


def segment_size(profile: Path) -> int:
    """Bytes of the largest segment that a Fast DDS profile asks for; 0 where it asks for none or cannot be read."""
    try:
        elements = ElementTree.parse(profile).getroot().iter()
        return max((int(element.text or 0) for element in elements if element.tag.endswith("segment_size")), default=0)
    except (OSError, ValueError, ElementTree.ParseError):
        return 0
