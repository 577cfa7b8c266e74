"""`python -m jepa_ros.ros planner --ros-args ...`: the executables, where `ros2 run` is not at hand."""

import sys

from jepa_ros.ros.entry import NODES, start

if len(sys.argv) < 2 or sys.argv[1] not in NODES:
    sys.exit(f"usage: python -m jepa_ros.ros {{{','.join(NODES)}}} [--ros-args ...]")
start(sys.argv[1])
