"""`python -m jepa_ros.mcp`: an MCP server, through which language models ask about the scene, ask for plans, and start or stop a drive.

Only the entry lies here; the tools talk to the running nodes, which `jepa_ros.ros` does.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Entry point of `python -m jepa_ros.mcp`."""
    try:
        import mcp.server.mcpserver  # noqa: F401
        import rclpy  # noqa: F401
    except ImportError as error:
        print(f"{error.name} is not here: pip install 'jepa_ros[mcp]', and run this where ROS 2 is sourced", file=sys.stderr)
        return 1
    from jepa_ros.ros.mcp.server import main as serve

    return serve()


if __name__ == "__main__":
    sys.exit(main())
