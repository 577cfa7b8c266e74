"""The tools, and how they are served: `python -m jepa_ros.mcp` (stdio), `--http PORT` (this machine only)."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

import anyio
import numpy as np
import rclpy
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools.base import Tool
from pydantic import AfterValidator, BeforeValidator, Field
from rclpy.node import Node
from rclpy.utilities import remove_ros_args

from jepa_ros.action import PursueGoal
from jepa_ros.msg import PlanningStatus
from jepa_ros.ros.mcp.answers import DRIVES, Imagined, Said, Scene, Way, finite, refused, scene_at, way
from jepa_ros.ros.mcp.link import NotThere, RobotLink
from jepa_ros.types import PlanStatus

T = TypeVar("T")
STOPPED = PursueGoal.Result(
    status=PlanningStatus(code=PlanningStatus.NOT_ACTIVE, message="a stop came while this was checked"), would_work="ask again"
)
LOCALHOST = "127.0.0.1"
MOST_WAITING = 4  # calls; more are refused at once, so that a flood never delays a stop
NEARER = (0.75, 0.5, 0.25)  # of the distance: goals that are tried where one was refused
STEP_S = 0.4  # of the world model
REACH_M = 30.0
INSTRUCTIONS = (
    "You talk to a mobile robot. Places are relative to it: ahead and left, in m. You propose; the robot's planner decides: a motion "
    "starts only where a plan passes its collision checks, speed limits and deadline, and it stops by itself where that no longer holds. "
    "A refusal says what would work. No tool overrides it."
)
SLOWEST_MPS = 0.01  # a limit below it is no speed; as a message, some would even be 0, which stands for no limit


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers")
    return value


def _some_speed(value: float) -> float:
    if 0.0 < value < SLOWEST_MPS:
        raise ValueError(f"{value}: at least {SLOWEST_MPS} m/s, or 0 for the robot's own limit; to stand, call stop")
    return value


Number = Annotated[float, BeforeValidator(_no_truth)]
Ahead = Annotated[Number, Field(ge=-REACH_M, le=REACH_M, allow_inf_nan=False, description="m ahead of the robot; negative is behind")]
Left = Annotated[Number, Field(ge=-REACH_M, le=REACH_M, allow_inf_nan=False, description="m to its left; negative is to the right")]
Speed = Annotated[
    Number,
    Field(ge=0.0, le=50.0, allow_inf_nan=False, description="0 = the robot's limit, which holds anyway"),
    AfterValidator(_some_speed),
]
Name = Annotated[str, Field(max_length=40, pattern=r"^[ -~]*$")]  # letters of ASCII: all that names of people here are made of


class Tools:
    """One robot's. Calls take turns; `stop` never waits."""

    def __init__(self, link: RobotLink) -> None:
        self._link = link
        self._turn = threading.Lock()
        self._waiting = 0
        self._stops = 0  # a goal that was being checked when a stop came is not driven to
        self._refusal = "nothing has been refused"
        self._stopping = threading.Lock()

    async def what_is_around(self) -> Scene:
        """People, cyclists, vehicles and what stands around the robot now, and how surprising the scene is."""
        return await self._in_turn(lambda: scene_at(self._link.scene(), 0.0))

    async def what_will_happen(
        self, in_s: Annotated[Number, Field(ge=0.0, le=4.8, allow_inf_nan=False, description="seconds from now")]
    ) -> Scene:
        """The same, as it is predicted for a later moment."""
        return await self._in_turn(lambda: scene_at(self._link.scene(), in_s))

    async def imagine_motion(
        self,
        speed_mps: Annotated[Number, Field(ge=-3.0, le=3.0, allow_inf_nan=False)],
        turn_radps: Annotated[Number, Field(ge=-2.0, le=2.0, allow_inf_nan=False, description="positive is to the left")],
        duration_s: Annotated[Number, Field(ge=0.4, le=4.8, allow_inf_nan=False)],
    ) -> Imagined:
        """What the world model predicts if the robot moved like this. Nothing moves."""

        def look() -> Imagined:
            times_s = STEP_S * np.arange(1, round(duration_s / STEP_S) + 1)
            yaw = turn_radps * times_s
            turning = abs(turn_radps) > 1e-6
            x = speed_mps * np.sin(yaw) / turn_radps if turning else speed_mps * times_s
            y = speed_mps * (1 - np.cos(yaw)) / turn_radps if turning else 0 * times_s
            answer = self._link.imagine(np.stack([x, y, yaw], axis=-1))
            probability = finite(answer.collision_probability[0]) if len(answer.collision_probability) else None
            moved_m = finite(answer.people_moved_m[0]) if len(answer.people_moved_m) else None
            return Imagined(PlanStatus(answer.status.code).name, probability, moved_m, answer.status.message)

        return await self._in_turn(look)

    async def is_there_a_safe_way(self, ahead_m: Ahead, left_m: Left) -> Way:
        """Ask the planner for a way to a place. Nothing moves."""
        return await self._in_turn(lambda: self._way(ahead_m, left_m, drive=False))

    async def go_there(self, ahead_m: Ahead, left_m: Left, max_speed_mps: Speed = 0.0) -> Way:
        """Drive to a place, where the planner accepts it. It replans and may stop or give way at any time."""
        return await self._in_turn(lambda: self._way(ahead_m, left_m, drive=True, max_speed_mps=max_speed_mps))

    async def pursue(
        self,
        object: Annotated[Name, Field(description='"person", "cyclist" or "vehicle" (the nearest), or "vehicle 12" (by id)')],
        relation: Annotated[Literal["near", "left_of", "right_of", "behind"], Field(description="as seen from the robot")] = "near",
        distance_m: Annotated[Number, Field(ge=0.0, le=REACH_M, allow_inf_nan=False, description="0 = as near as may be")] = 0.0,
        max_speed_mps: Speed = 0.0,
        keep_away_from: Annotated[list[Name], Field(max_length=16, description='"people", "person 12" or "cyclist 12"')] = [],  # noqa: B006 - pydantic's own copy
        keep_distance_m: Annotated[Number, Field(ge=0.0, le=5.0, allow_inf_nan=False)] = 0.0,
    ) -> Way:
        """Drive to a place beside a person, cyclist or vehicle, where it will be, and keep a distance to others on the way."""

        def look() -> Way:
            stops = self._stops
            goal = PursueGoal.Goal(
                object=object,
                relation=relation,
                distance=distance_m,
                max_speed=max_speed_mps,
                keep_away_from=keep_away_from,
                keep_distance=keep_distance_m,
            )
            over = self._pursue(goal, stops)
            return DRIVES if over is None else self._refused(over)

        return await self._in_turn(look)

    async def stop(self) -> Said:
        """Stand still, at once."""
        try:
            await anyio.to_thread.run_sync(self._halt)
        except NotThere as error:
            return Said(False, str(error))
        return Said(True, "told to stand")

    async def why_refused(self) -> Said:
        """Why the last goal was refused, and what the controller does now."""
        return Said(True, f"{self._refusal}. The controller: {self._link.controller_state()}")

    def _halt(self) -> None:
        with self._stopping:
            self._stops += 1
            self._link.stop()

    async def _in_turn(self, work: Callable[[], T]) -> T:
        if self._waiting >= MOST_WAITING:
            raise ToolError(f"busy: {self._waiting} calls are waiting already; wait for their answers, then ask again")
        self._waiting += 1
        try:
            return await anyio.to_thread.run_sync(self._alone, work)
        except NotThere as error:
            raise ToolError(str(error)) from None
        finally:
            self._waiting -= 1

    def _alone(self, work: Callable[[], T]) -> T:
        with self._turn:
            return work()

    def _way(self, ahead_m: float, left_m: float, drive: bool, max_speed_mps: float = 0.0) -> Way:
        stops = self._stops
        goal = self._link.goal(ahead_m, left_m)
        answer = self._link.plan(goal, max_speed_mps)
        if answer.status.code == PlanStatus.OK and not answer.fallback:
            over = self._pursue(PursueGoal.Goal(place=goal, max_speed=max_speed_mps), stops) if drive else None
            if over is not None:
                return self._refused(over)
            return way(answer, True, drive, "")
        self._refusal = f"{PlanStatus(answer.status.code).name}: {answer.status.message}"
        return way(answer, False, False, self._alternative(ahead_m, left_m))

    def _pursue(self, goal: PursueGoal.Goal, stops: int) -> PursueGoal.Result | None:
        """None: it is driven to. `stops`: how many had come when the call began; after another one nothing is driven to."""
        with self._stopping:
            pursuit = self._link.pursue(goal) if stops == self._stops else None
        over = STOPPED if pursuit is None else self._link.answer_of(pursuit)
        if pursuit is not None and stops != self._stops:
            pursuit.cancel()
            return STOPPED
        return over

    def _refused(self, over: PursueGoal.Result) -> Way:
        self._refusal = f"{PlanStatus(over.status.code).name}: {over.status.message}"
        return refused(over)

    def _alternative(self, ahead_m: float, left_m: float) -> str:
        for share in NEARER:
            nearer = self._link.plan(self._link.goal(share * ahead_m, share * left_m))
            if nearer.status.code == PlanStatus.OK and not nearer.fallback:
                return f"a goal {share * ahead_m:.1f} m ahead, {share * left_m:.1f} m left is accepted now"
        return "nothing on the straight way there is accepted now: wait and ask again, or choose another direction"


def make_server(link: RobotLink) -> MCPServer[Any]:
    """All tools of one robot."""
    tools = Tools(link)
    offered = (
        tools.what_is_around,
        tools.what_will_happen,
        tools.imagine_motion,
        tools.is_there_a_safe_way,
        tools.go_there,
        tools.pursue,
        tools.why_refused,
    )
    stop = Tool.from_function(tools.stop)  # whatever else a caller says with it, it stops
    return MCPServer(
        "jepa_ros", instructions=INSTRUCTIONS, log_level="WARNING", tools=[stop, *(_strict(Tool.from_function(tool)) for tool in offered)]
    )


def _strict(tool: Tool) -> Tool:
    """Refuses arguments that it does not declare: a limit that a caller gave must not be dropped in silence."""
    arguments = tool.fn_metadata.arg_model
    arguments.model_config["extra"] = "forbid"
    arguments.model_rebuild(force=True)
    tool.parameters["additionalProperties"] = False
    return tool


def main(argv: list[str] | None = None) -> int:
    """Entry point of the command line."""
    argv = sys.argv if argv is None else ["mcp", *argv]
    parser = argparse.ArgumentParser(prog="python -m jepa_ros.mcp", description="Tools for language models, by MCP.")
    parser.add_argument("--http", type=int, metavar="PORT", help=f"serve on http://{LOCALHOST}:PORT/mcp (default: stdio)")
    arguments = parser.parse_args(remove_ros_args(argv)[1:])
    rclpy.init(args=argv)
    node = Node("mcp")
    link = RobotLink(node)
    try:
        server = make_server(link)
        if arguments.http is None:
            server.run("stdio")
        else:
            server.run("streamable-http", host=LOCALHOST, port=arguments.http)
    finally:
        link.close()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0
