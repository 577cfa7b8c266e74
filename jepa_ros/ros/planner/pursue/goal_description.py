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

    person: int | None  # by id; None = the nearest, or nobody
    wants_person: bool
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
        who = [_who(name, "keep_away_from") for name in keep_away_from]
        return cls(
            person=_who(object_name, "object") if object_name else None,
            wants_person=bool(object_name),
            relation=relation,
            distance_m=distance_m,
            max_speed_mps=max_speed_mps or None,
            keep_from_all=None in who,
            keep_from=frozenset(one for one in who if one is not None),
            keep_m=keep_m,
        )

    def watched(self, moving: Moving) -> np.ndarray:
        """(P,) bool: who is to be kept away from."""
        return ((moving.ids >= 0) & self.keep_from_all) | np.isin(moving.ids, list(self.keep_from))

    def guarded(self, scene: PlanningScene) -> PlanningScene:
        """The scene in which to come so near to those who are kept away from is to touch them: every check of a plan keeps the distance."""
        watched = self.watched(scene.moving)
        if not watched.any():
            return scene
        return replace(scene, moving=replace(scene.moving, kept_m=np.where(watched, self.keep_m, 0.0)))


@dataclass(frozen=True)
class Place:
    """Where a wish leads to now."""

    pose: FloatArray  # (3,) x m, y m, yaw rad (NaN = any)
    person: int | None  # by whom it is described
    from_robot_rad: float  # direction in which whom or what it is near was seen from the robot when the goal came
    near_m: tuple[FloatArray, float] | None = None  # (2,) and how near: there on any side of it, and not only at `pose`


def place_near(
    wish: GoalDescription, scene: PlanningScene, region_m: FloatArray, robot_radius_m: float, personal_space_m: float, before: Place | None
) -> Place:
    """Beside a person, where they will be when the robot can be there. region_m: (N, 2), empty = anywhere. before: this wish's last place.

    Raises Refusal where nobody fits or the distance cannot be kept.
    """
    moving = scene.moving
    fits = moving.ids >= 0 if wish.person is None else moving.ids == wish.person
    if len(region_m):
        fits &= np.array([inside(region_m, place) for place in moving.positions_m], bool)
    if before is not None:  # the one who was chosen first
        fits &= moving.ids == before.person
    robot_m = scene.ego.odom_from_base[:2, 3]
    if not fits.any():
        raise Refusal(PlanStatus.INVALID_GOAL, "the person at the goal is not seen", _seen(moving))
    away_m = np.where(fits, np.linalg.norm(moving.positions_m - robot_m, axis=1), np.inf)
    i = int(away_m.argmin())
    kept_m = wish.keep_m if wish.watched(moving)[i] else 0.0
    touching_m = robot_radius_m + float(moving.radii_m[i]) + kept_m
    distance_m = wish.distance_m or touching_m + personal_space_m
    if distance_m < touching_m:
        raise Refusal(
            PlanStatus.INVALID_GOAL, f"{distance_m:.2f} m is nearer than allowed", f"a distance of {touching_m + 0.1:.1f} m or more"
        )
    speed_mps = wish.max_speed_mps or 1.0
    then_m = _expected(moving, i, max(0.0, away_m[i] - distance_m) / speed_mps)
    seen_m = moving.positions_m[i] - robot_m
    aside = RELATIONS[wish.relation]
    # Beside somebody is the side as it was when the goal came, or the goal would circle with the robot; near them any side will do.
    from_robot = before.from_robot_rad if before and aside else math.atan2(seen_m[1], seen_m[0])
    turned = from_robot + math.pi - aside
    goal_m = then_m + distance_m * np.array([math.cos(turned), math.sin(turned)])
    if len(region_m) and not inside(region_m, goal_m):
        goal_m = nearest_inside(region_m, goal_m)
    near = None if aside or len(region_m) else (moving.positions_m[i], distance_m)
    return Place(np.array([*goal_m, math.nan]), int(moving.ids[i]), from_robot, near)


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


def _expected(moving: Moving, i: int, in_s: float) -> FloatArray:
    """(2,) where person `i` most likely is then; after the horizon where they are at its end."""
    times_s = np.concatenate(([0.0], moving.forecast.times_s))
    way_m = np.concatenate((moving.positions_m[i : i + 1], moving.forecast.most_likely()[i]))
    return np.array([np.interp(in_s, times_s, way_m[:, axis]) for axis in (0, 1)])


def _who(name: str, field: str) -> int | None:
    """The id of "person 12"; None for everybody, or anybody. Raises Refusal."""
    words = name.strip().lower().split()
    if len(words) == 1 and words[0] in EVERYBODY:
        return None
    if len(words) == 2 and words[0] == "person" and words[1].isdecimal() and len(words[1]) < 18:
        return int(words[1])
    raise Refusal(PlanStatus.INVALID_REQUEST, f"{field} = {name!r}: only people can be named", '"person", or "person 12" by its id')


def _seen(moving: Moving) -> str:
    ids = ", ".join(f"person {int(one)}" for one in moving.ids[moving.ids >= 0][:8])
    return f"who is seen now: {ids}" if ids else "nobody is seen now: look again later, or give a place"
