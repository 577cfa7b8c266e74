"""Checks whether large messages can arrive on this machine, and names the fix if not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
SEGMENTS = 2  # ours and a driver's, at least
MEGABYTE = 1 << 20
EXPORT = "export FASTDDS_DEFAULT_PROFILES_FILE=$(ros2 pkg prefix --share jepa_ros)/config/fastdds.xml"


def transport_problems(middleware: str, environment: Mapping[str, str], shared_memory: Path = Path("/dev/shm")) -> list[str]:
    """Of Fast DDS; other middlewares have no such profile. middleware: as rclpy.get_rmw_implementation_identifier() names it."""
    if "fastrtps" not in middleware:
        return []
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


def segment_size(profile: Path) -> int:
    """Bytes of the largest segment that a Fast DDS profile asks for; 0 where it asks for none or cannot be read."""
    try:
        elements = ElementTree.parse(profile).getroot().iter()
        return max((int(element.text or 0) for element in elements if element.tag.endswith("segment_size")), default=0)
    except (OSError, ValueError, ElementTree.ParseError):
        return 0
