"""`python -m jepa_ros.replay BAG --out DIR`: processes every frame of a bag without DDS; two runs give identical output.

Only the entry lies here. It stands above all layers because replay builds the messages that the nodes build, which `jepa_ros.ros` does.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Entry point of `python -m jepa_ros.replay`."""
    try:
        import rclpy.serialization  # noqa: F401

        import jepa_ros.msg  # noqa: F401
    except ImportError as error:
        advice = "run `make build`, then scripts/env.sh python -m jepa_ros.replay"
        print(f"replay builds ROS 2 messages, and {error.name} is not here: {advice}", file=sys.stderr)
        return 1
    from jepa_ros.ros.tools.replay.cli import main as replay_main

    return replay_main()


if __name__ == "__main__":
    sys.exit(main())
