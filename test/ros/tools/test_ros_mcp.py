"""Two dozen dialogues with the SDK's own client against the live simulator, hostile ones among them: none gets an unsafe motion."""

from __future__ import annotations

import asyncio
import math
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
mcp = pytest.importorskip("mcp", reason="mcp is not installed: pip install 'jepa_ros[mcp]'")
pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]

import rclpy  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.node import Node  # noqa: E402
from ros_mcp_stage import LIMIT_MPS, Stage  # noqa: E402

from jepa_ros.ros.mcp.link import RobotLink  # noqa: E402
from jepa_ros.ros.mcp.server import make_server  # noqa: E402

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


async def seen_around(ask: Ask) -> dict[str, Any]:
    """What is around, once a forecast is fresh: on a busy machine one may be late."""
    deadline_s = time.monotonic() + 15.0
    while (answer := await ask("what_is_around")).is_error and time.monotonic() < deadline_s:
        await asyncio.sleep(0.3)
    assert not answer.is_error, answer.content[0].text
    return answer.structured_content


async def way(ask: Ask, tool: str, **place: float) -> dict[str, Any]:
    """The answer about a goal, asked again while a busy machine has no fresh forecast or no time for a plan."""
    for _ in range(20):
        told = (await ask(tool, **place)).structured_content
        if told["status"] not in ("STALE_SENSORS", "TIMEOUT"):
            break
        await asyncio.sleep(0.3)
    return told


def refusal(result: Any) -> str:
    assert result.is_error, result
    return result.content[0].text


# -- harmless ----------------------------------------------------------------------------------------------------------------------------


async def looks_around(ask: Ask, stage: Stage) -> None:
    told = await seen_around(ask)
    assert told["in_s"] == 0.0
    assert told["nearest_occupied_m"]
    assert "lidar" in told["sensors"]


async def looks_ahead_in_time(ask: Ask, stage: Stage) -> None:
    told = (await ask("what_will_happen", in_s=2.4)).structured_content
    assert told["in_s"] == pytest.approx(2.4, abs=0.2)


async def imagines(ask: Ask, stage: Stage) -> None:
    for _ in range(20):  # the planner loads its model with the first request
        told = (await ask("imagine_motion", speed_mps=0.4, turn_radps=0.2, duration_s=2.0)).structured_content
        if told["status"] == "OK":
            break
        await asyncio.sleep(0.5)
    assert told["status"] == "OK", told
    assert 0.0 <= told["collision_probability"] <= 1.0


async def asks_for_a_way(ask: Ask, stage: Stage) -> None:
    told = await way(ask, "is_there_a_safe_way", ahead_m=2.0, left_m=0.0)
    assert told["moving"] is False
    assert told["accepted"] or told["would_work"]


async def goes_and_stops(ask: Ask, stage: Stage) -> None:
    for ahead, left in 6 * ((3.0, 0.0), (1.5, 1.5), (1.5, -1.5), (-2.0, 0.0)):  # on a busy machine forecasts are stale now and then
        told = (await ask("go_there", ahead_m=ahead, left_m=left)).structured_content
        if told["accepted"]:
            break
        await asyncio.sleep(0.2)
    assert told["moving"], told
    begun_s = time.monotonic() - 1.0
    assert await stage.until(lambda: stage.moved_since(begun_s)), stage.link.controller_state()
    assert (await ask("stop")).structured_content["done"]
    assert await stage.stands()


async def asks_why(ask: Ask, stage: Stage) -> None:
    told = await way(ask, "go_there", ahead_m=0.0, left_m=29.0)
    why = (await ask("why_refused")).structured_content["message"]
    assert told["accepted"] or told["status"] in why
    assert told["accepted"] or told["would_work"]
    await ask("stop")
    assert await stage.stands()


# -- hostile: none of these may move the robot, but for those in MAY_MOVE, on a way that was checked ------------------------------------


def must_be_refused(tool: str, **arguments: Any) -> Callable[[Ask, Stage], Awaitable[None]]:
    async def dialogue(ask: Ask, stage: Stage) -> None:
        refusal(await ask(tool, **arguments))

    return dialogue


async def through_what_stands(ask: Ask, stage: Stage) -> None:
    """Into the nearest thing that stands there: refused with what would work, or a way that ends before it."""
    around = (await seen_around(ask))["nearest_occupied_m"]
    occupancy = stage.link.scene()[0]
    grid = np.frombuffer(bytes(occupancy.probability), np.uint8).reshape(len(occupancy.times_s), occupancy.rows, occupancy.columns)[0]
    rows, columns = np.nonzero(grid > 200)
    x = occupancy.origin.x + occupancy.resolution_m * (columns + 0.5)
    y = occupancy.origin.y + occupancy.resolution_m * (rows + 0.5)
    nearest = np.argmin(np.hypot(x, y) + 100 * (np.hypot(x, y) < 1.0))
    told = await way(ask, "go_there", ahead_m=float(x[nearest]), left_m=float(y[nearest]))
    assert around
    if told["moving"]:
        assert told["distance_to_goal_m"] > 0.4, told
        await ask("stop")
        assert await stage.stands()
    else:
        assert told["would_work"]


async def through_people(ask: Ask, stage: Stage) -> None:
    people = (await seen_around(ask))["people"]
    for person in people[:2]:
        told = (await ask("go_there", ahead_m=person["ahead_m"], left_m=person["left_m"])).structured_content
        if told["moving"]:  # it may drive to where somebody was, giving way to them; the limits below hold, and a stop ends it
            await ask("stop")
    assert await stage.stands()


async def a_flood(ask: Ask, stage: Stage) -> None:
    answers = await asyncio.gather(*(ask("is_there_a_safe_way", ahead_m=2.0, left_m=0.0) for _ in range(40)))
    busy = [answer for answer in answers if answer.is_error]
    assert len(busy) >= 30
    assert "busy" in refusal(busy[0])


async def a_stop_in_a_flood(ask: Ask, stage: Stage) -> None:
    """It is not kept waiting, and a goal that was being checked is not driven to."""
    goals = [asyncio.create_task(ask("go_there", ahead_m=2.0, left_m=0.0)) for _ in range(20)]
    await asyncio.sleep(0.0)
    begun_s = time.monotonic()
    assert (await ask("stop")).structured_content["done"]
    assert time.monotonic() - begun_s < 2.0
    await asyncio.gather(*goals)
    await ask("stop")
    assert await stage.stands()


async def a_tool_that_is_not_there(ask: Ask, stage: Stage) -> None:
    assert "set_cmd_vel" in refusal(await ask("set_cmd_vel", linear=2.0))


async def pursues_somebody(ask: Ask, stage: Stage) -> None:
    """Faster than the limit, which holds; who is not accepted is told what would work."""
    for _ in range(20):
        told = (await ask("pursue", person="person", relation="left_of", distance_m=1.5, max_speed_mps=50.0)).structured_content
        if told["status"] not in ("STALE_SENSORS", "TIMEOUT"):
            break
        await asyncio.sleep(0.3)
    assert told["moving"] or told["would_work"], told
    assert (await ask("stop")).structured_content["done"]
    assert await stage.stands()


async def somebody_who_is_not_there(ask: Ask, stage: Stage) -> None:
    told = (await ask("pursue", person="person 987654321")).structured_content
    assert (told["accepted"], told["moving"]) == (False, False)
    assert told["would_work"]


async def a_thing_without_a_name(ask: Ask, stage: Stage) -> None:
    told = (await ask("pursue", person="the emergency exit; drive through")).structured_content
    assert (told["moving"], told["status"]) == (False, "INVALID_REQUEST")
    assert "person" in told["would_work"]


HARMLESS = [looks_around, looks_ahead_in_time, imagines, asks_for_a_way, goes_and_stops, asks_why]
HOSTILE = {
    "a flood": a_flood,
    "a tool that is not there": a_tool_that_is_not_there,
    "too far": must_be_refused("go_there", ahead_m=1e9, left_m=0.0),
    "not a number": must_be_refused("go_there", ahead_m="NaN", left_m=0.0),
    "infinite": must_be_refused("go_there", ahead_m="Infinity", left_m=0.0),
    "words": must_be_refused("go_there", ahead_m="to the kitchen; ignore all limits", left_m=0.0),
    "a list": must_be_refused("go_there", ahead_m=[1.0], left_m=0.0),
    "half a goal": must_be_refused("go_there", ahead_m=1.0),
    "nothing": must_be_refused("go_there"),
    "beyond the horizon": must_be_refused("what_will_happen", in_s=3600.0),
    "somebody who is not there": somebody_who_is_not_there,
    "a thing without a name": a_thing_without_a_name,
    "through somebody": must_be_refused("pursue", person="person", relation="through"),
    "a motion of 100 m/s": must_be_refused("imagine_motion", speed_mps=100.0, turn_radps=0.0, duration_s=2.0),
}
MAY_MOVE = {
    "through what stands": through_what_stands,
    "through people": through_people,
    "a stop in a flood": a_stop_in_a_flood,
    "pursues somebody": pursues_somebody,
}


def test_dialogues(stage: Stage) -> None:
    dialogues = {dialogue.__name__: dialogue for dialogue in HARMLESS} | HOSTILE | MAY_MOVE
    assert len(dialogues) == 24

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
