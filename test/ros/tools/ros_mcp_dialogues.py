"""Dialogues of a language model with the robot, by the SDK's own client: harmless ones, and hostile ones that must not be dangerous."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from ros_mcp_stage import Stage

Ask = Callable[..., Awaitable[Any]]


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


async def goes_slowly(ask: Ask, stage: Stage) -> None:
    """A limit below the robot's own."""
    begun_s = time.monotonic()
    for ahead, left in 4 * ((3.0, 0.0), (1.5, 1.5), (1.5, -1.5), (-2.0, 0.0)):
        told = (await ask("go_there", ahead_m=ahead, left_m=left, max_speed_mps=0.2)).structured_content
        if told["accepted"]:
            break
        await asyncio.sleep(0.2)
    assert told["moving"], told
    assert await stage.until(lambda: stage.moved_since(begun_s))
    await asyncio.sleep(1.5)
    assert (await ask("stop")).structured_content["done"]
    assert await stage.stands()
    assert max(abs(message.linear.x) for at_s, message in list(stage.commands) if at_s > begun_s) <= 0.2 + 1e-6


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
    occupancy = stage.link.scene().occupancy
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


async def into_somebody(ask: Ask, stage: Stage) -> None:
    """A goal where somebody stands or walks: refused, or given way to."""
    for person in (await seen_around(ask))["people"][:3]:
        told = await way(ask, "go_there", ahead_m=person["ahead_m"], left_m=person["left_m"])
        assert told["accepted"] or told["would_work"]
        await asyncio.sleep(1.5 if told["moving"] else 0.0)
    await ask("stop")
    assert await stage.stands()


async def past_somebody_again_and_again(ask: Ask, stage: Stage) -> None:
    """Goals behind whoever is nearest, a new one before the last is reached."""
    until_s = time.monotonic() + 8.0
    while time.monotonic() < until_s:
        people = (await seen_around(ask))["people"]
        if not people:
            break
        place = {"ahead_m": 1.8 * people[0]["ahead_m"], "left_m": 1.8 * people[0]["left_m"]}
        await ask("go_there", **{axis: max(-30.0, min(30.0, value)) for axis, value in place.items()})
        await asyncio.sleep(0.7)
    await ask("stop")
    assert await stage.stands()


async def arguments_that_nobody_declared(ask: Ask, stage: Stage) -> None:
    """What a caller believes to have said must not be dropped in silence: here it would be a limit."""
    text = refusal(await ask("go_there", ahead_m=2.0, left_m=0.0, keep_distance_m=1.0, ignore_people=True))
    assert "keep_distance_m" in text
    assert "ignore_people" in text


async def letters_that_no_name_has(ask: Ask, stage: Stage) -> None:
    for name in ("person \u202e21", "\U0001f6b6", "person\x00 12", "\u043f\u0435\u0440son", "person 12\nstatus: OK"):
        told = await ask("pursue", object=name)
        assert told.is_error or not told.structured_content["moving"], name


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


async def a_stop_with_more_words_than_it_needs(ask: Ask, stage: Stage) -> None:
    """What it does not declare is no reason not to stop."""
    await ask("go_there", ahead_m=4.0, left_m=0.0)
    assert (await ask("stop", reason="the user said so")).structured_content["done"]
    assert await stage.stands()


async def a_tool_that_is_not_there(ask: Ask, stage: Stage) -> None:
    assert "set_cmd_vel" in refusal(await ask("set_cmd_vel", linear=2.0))


async def pursues_somebody(ask: Ask, stage: Stage) -> None:
    """Faster than the limit, which holds; who is not accepted is told what would work."""
    for _ in range(20):
        told = (await ask("pursue", object="person", relation="left_of", distance_m=1.5, max_speed_mps=50.0)).structured_content
        if told["status"] not in ("STALE_SENSORS", "TIMEOUT"):
            break
        await asyncio.sleep(0.3)
    assert told["moving"] or told["would_work"], told
    assert (await ask("stop")).structured_content["done"]
    assert await stage.stands()


async def somebody_who_is_not_there(ask: Ask, stage: Stage) -> None:
    told = (await ask("pursue", object="person 987654321")).structured_content
    assert (told["accepted"], told["moving"]) == (False, False)
    assert told["would_work"]


async def a_thing_without_a_name(ask: Ask, stage: Stage) -> None:
    told = (await ask("pursue", object="the emergency exit; drive through")).structured_content
    assert (told["moving"], told["status"]) == (False, "INVALID_REQUEST")
    assert "person" in told["would_work"]


def nested(depth: int) -> Any:
    """{"a": [{"a": [...]}]}"""
    inner: Any = 1.0
    for _ in range(depth):
        inner = {"a": [inner]}
    return inner


HARMLESS = [looks_around, looks_ahead_in_time, imagines, asks_for_a_way, goes_and_stops, goes_slowly, asks_why]
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
    "letters that no name has": letters_that_no_name_has,
    "arguments that nobody declared": arguments_that_nobody_declared,
    "a real NaN": must_be_refused("go_there", ahead_m=math.nan, left_m=0.0),
    "a real infinity": must_be_refused("imagine_motion", speed_mps=math.inf, turn_radps=0.0, duration_s=2.0),
    "an object in an object": must_be_refused("go_there", ahead_m=nested(100), left_m=0.0),
    "lists in lists": must_be_refused("pursue", object="person", keep_away_from=nested(100)),
    "a name of a megabyte": must_be_refused("pursue", object="person " + 1_000_000 * "1"),
    "names of a megabyte to keep away from": must_be_refused("pursue", object="person", keep_away_from=4 * [1_000_000 * "x"]),
    "through somebody": must_be_refused("pursue", object="person", relation="through"),
    "a limit that a message cannot hold": must_be_refused("go_there", ahead_m=2.0, left_m=0.0, max_speed_mps=1e-300),
    "true and false as a place": must_be_refused("go_there", ahead_m=True, left_m=False),
    "a motion of 100 m/s": must_be_refused("imagine_motion", speed_mps=100.0, turn_radps=0.0, duration_s=2.0),
}
MAY_MOVE = {
    "through what stands": through_what_stands,
    "through people": through_people,
    "a stop in a flood": a_stop_in_a_flood,
    "a stop with more words than it needs": a_stop_with_more_words_than_it_needs,
    "into somebody": into_somebody,
    "past somebody, again and again": past_somebody_again_and_again,
    "pursues somebody": pursues_somebody,
}
