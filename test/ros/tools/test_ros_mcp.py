"""Dialogues with the SDK's own client against the live simulator, hostile ones among them: none gets an unsafe motion.

Unsafe is judged by the simulator's truth: how near the robot came to anybody while it moved.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
mcp = pytest.importorskip("mcp", reason="mcp is not installed: pip install 'jepa_ros[mcp]'")
pytestmark = [pytest.mark.ros, pytest.mark.timeout(400)]

import rclpy  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.node import Node  # noqa: E402
from ros_mcp_dialogues import HARMLESS, HOSTILE, MAY_MOVE, refusal  # noqa: E402
from ros_mcp_stage import LIMIT_MPS, Stage  # noqa: E402

from jepa_ros.ros.mcp.link import RobotLink  # noqa: E402
from jepa_ros.ros.mcp.server import make_server  # noqa: E402

TOUCH_M = 0.05  # the truth comes five times a second: at 0.6 m/s, 0.12 m apart


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


def test_dialogues(stage: Stage) -> None:
    dialogues = {dialogue.__name__: dialogue for dialogue in HARMLESS} | HOSTILE | MAY_MOVE
    assert len(dialogues) == 38

    async def talk() -> None:
        async with mcp.Client(stage.server) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert set(tools) >= {"what_is_around", "go_there", "pursue", "stop", "why_refused"}
            assert all(tool.output_schema and tool.description for tool in tools.values())

            async def ask(tool: str, **arguments: Any) -> Any:
                return await client.call_tool(tool, arguments)

            for name, dialogue in dialogues.items():
                begun_s = time.monotonic()
                await dialogue(ask, stage)
                if name in HOSTILE:
                    await asyncio.sleep(0.3)
                    assert not stage.moved_since(begun_s), name

    asyncio.run(talk())
    speeds = [math.hypot(message.linear.x, message.linear.y) for _, message in stage.commands]
    assert max(speeds) <= LIMIT_MPS + 1e-6
    assert max(speeds) > 0.05, "something was driven at all"
    moved = [nearest for nearest in stage.truth if nearest.of_our_making]
    assert len(moved) > 10, "the truth was heard while it moved"
    least = min(moved, key=lambda nearest: nearest.gap_m)
    print(f"nearest to anybody while moving: {least.gap_m:.2f} m ({len(moved)} instants, {max(speeds):.2f} m/s)")
    assert least.gap_m > TOUCH_M, "nobody was driven into"


def test_without_a_robot_it_says_what_to_do() -> None:
    context = Context()
    rclpy.init(context=context, domain_id=49)
    link = RobotLink(Node("mcp", context=context))

    async def talk() -> list[str]:
        async with mcp.Client(make_server(link)) as client:
            around = await client.call_tool("what_is_around", {})
            stop = await client.call_tool("stop", {})
            return [refusal(around), stop.structured_content["message"]]

    told = asyncio.run(talk())
    link.close()
    rclpy.shutdown(context=context)
    assert "doctor" in told[0]
    assert "controller.enabled" in told[1]


def test_a_client_starts_the_command_and_talks_to_it_by_stdio() -> None:
    """Nothing but the protocol is on its standard output."""
    environment = {**os.environ, "ROS_DOMAIN_ID": "48"}
    command = mcp.StdioServerParameters(command=sys.executable, args=["-m", "jepa_ros.mcp"], env=environment)

    async def talk() -> str:
        async with mcp.Client(command) as client:
            assert len((await client.list_tools()).tools) == 8
            return refusal(await client.call_tool("go_there", {"ahead_m": 1.0, "left_m": 0.0}))

    assert "is world_model active" in asyncio.run(talk())
