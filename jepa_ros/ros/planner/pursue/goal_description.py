"""A described goal: read and checked once, then located in a scene. Places in the fixed frame, m."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from jepa_ros.planning.scene import Moving, PlanningScene
from jepa_ros.ros.planner.scene import InvalidGoal
from jepa_ros.types import FloatArray, PlanStatus

RELATIONS = {"": 0.0, "near": 0.0, "left_of": math.pi / 2, "right_of": -math.pi / 2, "behind": math.pi}  # turned from the robot's side
EVERYBODY = ("people", "person")
KINDS = ("person", "cyclist", "vehicle")
MOST_KEPT_M = 5.0
MOST_DISTANCE_M = 30.0
INSIDE_M = 0.05  # so far inside its border a point counts as one of the region


class Refusal(InvalidGoal):
    """Why it cannot be, as a status and a text, and what would work."""

    def __init__(self, status: PlanStatus, message: str, would_work: str) -> None:
        super().__init__(message)
        self.status = status
        self.would_work = would_work


@dataclass(frozen=True)
class GoalDescription:
    """A goal as it was described."""

    kind: str  # of KINDS; empty = a place or a region
    number: int | None  # its id; None = the nearest that fits
    relation: str
    distance_m: float  # 0 = as near as may be
    max_speed_mps: float | None
    keep_from_all: bool
    keep_from: frozenset[int]
    keep_m: float

    @classmethod
    def of(
        cls, object_name: str, relation: str, distance_m: float, max_speed_mps: float, keep_away_from: Sequence[str], keep_m: float
    ) -> GoalDescription:
        """Raises Refusal for what is no wish."""
        numbers = {"distance": (distance_m, MOST_DISTANCE_M), "max_speed": (max_speed_mps, 50.0), "keep_distance": (keep_m, MOST_KEPT_M)}
        for name, (value, most) in numbers.items():
            if not 0.0 <= value <= most:
                raise Refusal(PlanStatus.INVALID_REQUEST, f"{name} = {value}", f"a {name} from 0 to {most:g}")
        if relation not in RELATIONS:
            raise Refusal(PlanStatus.INVALID_REQUEST, f"relation = {relation!r}", f"one of {', '.join(filter(None, RELATIONS))}")
        if keep_away_from and keep_m == 0.0:
            raise Refusal(PlanStatus.INVALID_REQUEST, "keep_away_from without keep_distance", "a keep_distance above 0 m")
        who = [_who(name) for name in keep_away_from]
        kind, number = _named(object_name) if object_name else ("", None)
        return cls(
            kind=kind,
            number=number,
            relation=relation,
            distance_m=distance_m,
            max_speed_mps=max_speed_mps or None,
            keep_from_all=None in who,
            keep_from=frozenset(one for one in who if one is not None),
            keep_m=keep_m,
        )

    def fits(self, thing: Thing) -> bool:
        """A rider is a person too, and whoever is called by a number is known by it, whatever the last sweep made of them."""
        if self.number is not None:
            return thing.id == self.number and thing.drives == (self.kind == "vehicle")
        return thing.kind == self.kind or (self.kind == "person" and not thing.drives)

    def watched(self, moving: Moving) -> np.ndarray:
        """(P,) bool: who is to be kept away from."""
        return ((moving.ids >= 0) & self.keep_from_all) | np.isin(moving.ids, list(self.keep_from))

    def keeps_from(self, thing: Thing) -> bool:
        """Whether a distance is to be kept from it."""
        return not thing.drives and (self.keep_from_all or thing.id in self.keep_from)

    def guarded(self, scene: PlanningScene) -> PlanningScene:
        """The scene in which to come so near to those who are kept away from is to touch them: every check of a plan keeps the distance."""
        watched = self.watched(scene.moving)
        if not watched.any():
            return scene
        return replace(scene, moving=replace(scene.moving, kept_m=np.where(watched, self.keep_m, 0.0)))


@dataclass(frozen=True)
class Thing:
    """Somebody or something that has a name."""

    kind: str  # of KINDS
    id: int
    place_m: FloatArray  # (2,)
    radius_m: float  # it reaches no further from there
    way_m: FloatArray  # (T, 2) where it most likely is at each time
    times_s: FloatArray  # (T,)

    @property
    def name(self) -> str:
        """As it can be asked for."""
        return f"{self.kind} {self.id}"

    @property
    def drives(self) -> bool:
        """Vehicles have numbers of their own; people and cyclists share theirs."""
        return self.kind == "vehicle"

    def at(self, in_s: float) -> FloatArray:
        """(2,) where it most likely is then; after the horizon where it is at its end."""
        times_s, way_m = np.concatenate(([0.0], self.times_s)), np.concatenate((self.place_m[None], self.way_m))
        return np.array([np.interp(in_s, times_s, way_m[:, axis]) for axis in (0, 1)])


def things_of(moving: Moving) -> list[Thing]:
    """People, cyclists and vehicles."""
    boxes, ways_m, times_s = moving.boxes, moving.forecast.most_likely(), np.asarray(moving.forecast.times_s)
    reach_m = moving.radii_m if boxes is None else moving.radii_m + np.hypot(*boxes.halves_m.T)
    rides = np.zeros(len(moving.ids), bool) if boxes is None else boxes.halves_m.any(axis=1) & ~boxes.vehicles
    people = [
        Thing("cyclist" if rides[i] else "person", int(moving.ids[i]), moving.positions_m[i], float(reach_m[i]), ways_m[i], times_s)
        for i in np.flatnonzero(moving.ids >= 0)
    ]
    vehicles = [
        Thing("vehicle", one.id, one.box[:2], 0.5 * math.hypot(*one.box[3:]), one.poses[one.probabilities.argmax(), :, :2], one.times_s)
        for one in moving.vehicles
    ]
    return people + vehicles


@dataclass(frozen=True)
class Place:
    """Where a wish leads to now."""

    pose: FloatArray  # (3,) x m, y m, yaw rad (NaN = any)
    beside: Thing | None  # by what it is described
    from_robot_rad: float  # direction in which whom or what it is near was seen from the robot when the goal came
    near_m: tuple[FloatArray, float] | None = None  # (2,) and how near: there on any side of it, and not only at `pose`


def place_near(
    wish: GoalDescription, scene: PlanningScene, region_m: FloatArray, robot_radius_m: float, personal_space_m: float, before: Place | None
) -> Place:
    """Beside a person, a cyclist or a vehicle, where it will be when the robot can be there. region_m: (N, 2), empty = anywhere. before:
    this wish's last place.

    Raises Refusal where nothing fits or the distance cannot be kept.
    """
    seen = things_of(scene.moving)
    fitting = [one for one in seen if wish.fits(one) and (not len(region_m) or inside(region_m, one.place_m))]
    if before is not None and before.beside is not None:  # the one that was chosen first
        first = (before.beside.drives, before.beside.id)
        fitting = [one for one in fitting if (one.drives, one.id) == first]
    robot_m = scene.ego.odom_from_base[:2, 3]
    if not fitting:
        raise Refusal(PlanStatus.INVALID_GOAL, f"the {wish.kind} at the goal is not seen", _seen(seen))
    thing = min(fitting, key=lambda one: math.dist(one.place_m, robot_m))
    away_m = math.dist(thing.place_m, robot_m)
    touching_m = robot_radius_m + thing.radius_m + (wish.keep_m if wish.keeps_from(thing) else 0.0)
    distance_m = wish.distance_m or touching_m + personal_space_m
    if distance_m < touching_m:
        raise Refusal(
            PlanStatus.INVALID_GOAL, f"{distance_m:.2f} m is nearer than allowed", f"a distance of {touching_m + 0.1:.1f} m or more"
        )
    speed_mps = wish.max_speed_mps or 1.0
    then_m = thing.at(max(0.0, away_m - distance_m) / speed_mps)
    seen_m = thing.place_m - robot_m
    aside = RELATIONS[wish.relation]
    # Beside somebody is the side as it was when the goal came, or the goal would circle with the robot; near them any side will do.
    from_robot = before.from_robot_rad if before and aside else math.atan2(seen_m[1], seen_m[0])
    turned = from_robot + math.pi - aside
    goal_m = then_m + distance_m * np.array([math.cos(turned), math.sin(turned)])
    if len(region_m) and not inside(region_m, goal_m):
        goal_m = nearest_inside(region_m, goal_m)
    near = None if aside or len(region_m) else (thing.place_m, distance_m)
    return Place(np.array([*goal_m, math.nan]), thing, from_robot, near)


def place_at(wish: GoalDescription, pose: FloatArray | None, scene: PlanningScene, region_m: FloatArray, before: Place | None) -> Place:
    """At, or `distance` from, a place, or the nearest place of the region. Raises Refusal where neither is given, or they contradict."""
    robot_m = scene.ego.odom_from_base[:2, 3]
    if pose is None:
        if not len(region_m):
            raise Refusal(PlanStatus.INVALID_REQUEST, "object, place and region are all empty", "one of them")
        return Place(np.array([*nearest_inside(region_m, robot_m), math.nan]), None, 0.0)
    seen_m = pose[:2] - robot_m
    from_robot = before.from_robot_rad if before else math.atan2(seen_m[1], seen_m[0])
    turned = from_robot + math.pi - RELATIONS[wish.relation]
    goal = (
        pose
        if wish.distance_m == 0.0
        else np.array([*(pose[:2] + wish.distance_m * np.array([math.cos(turned), math.sin(turned)])), math.nan])
    )
    if len(region_m) and not inside(region_m, goal[:2]):
        x, y = nearest_inside(region_m, goal[:2])
        raise Refusal(
            PlanStatus.INVALID_GOAL, "the place is not in the region", f"the region's nearest place, ({x:.1f}, {y:.1f}) in the fixed frame"
        )
    return Place(goal, None, from_robot)


def inside(polygon_m: FloatArray, point_m: FloatArray) -> bool:
    """By the even-odd rule; polygon_m: (N, 2)."""
    (x0, y0), (x1, y1) = polygon_m.T, np.roll(polygon_m, -1, axis=0).T
    crosses = (y0 > point_m[1]) != (y1 > point_m[1])
    at_x = x0 + (point_m[1] - y0) * (x1 - x0) / np.where(crosses, y1 - y0, 1.0)
    return bool(np.count_nonzero(crosses & (point_m[0] < at_x)) % 2)


def nearest_inside(polygon_m: FloatArray, point_m: FloatArray) -> FloatArray:
    """(2,) the point itself where it is inside, else the nearest one of the border, a little further in."""
    if inside(polygon_m, point_m):
        return point_m
    start, edge = polygon_m, np.roll(polygon_m, -1, axis=0) - polygon_m
    share = ((point_m - start) * edge).sum(axis=1) / np.maximum((edge**2).sum(axis=1), 1e-12)
    places = start + share.clip(0.0, 1.0)[:, None] * edge
    border_m = places[np.linalg.norm(places - point_m, axis=1).argmin()]
    inwards = polygon_m.mean(axis=0) - border_m
    return border_m + INSIDE_M * inwards / max(float(np.linalg.norm(inwards)), 1e-9)


def _named(name: str) -> tuple[str, int | None]:
    """Kind, and id where it has one, of "vehicle" or "vehicle 12". Raises Refusal."""
    kind, *number = name.strip().lower().split() or [""]
    if kind in KINDS and not number:
        return kind, None
    if kind in KINDS and len(number) == 1 and number[0].isdecimal() and len(number[0]) < 18:
        return kind, int(number[0])
    kinds = " or ".join(f'"{one}"' for one in KINDS)
    raise Refusal(PlanStatus.INVALID_REQUEST, f"{name!r}: nothing is called so", f'{kinds}, or "person 12" by its id')


def _who(name: str) -> int | None:
    """The id of "person 12" or "cyclist 12"; None for everybody. Raises Refusal."""
    if name.strip().lower() in EVERYBODY:
        return None
    kind, number = _named(name)
    if kind == "vehicle" or number is None:
        raise Refusal(
            PlanStatus.INVALID_REQUEST,
            f"keep_away_from = {name!r}: only people and cyclists can be named",
            '"people", or "person 12" by its id',
        )
    return number


def _seen(things: Sequence[Thing]) -> str:
    names = ", ".join(one.name for one in things[:8])
    return f"what is seen now: {names}" if names else "nobody is seen now: look again later, or give a place"
