"""One moment of a run, as the page draws it. Places are in the anchor frame, m, but for what lies in the camera's image."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from jepa_ros.objects.scene.objects import SceneObject
from jepa_ros.objects.vehicles.boxes import corners, moved
from jepa_ros.sensing import anchor_points
from jepa_ros.sensing.terrain import Terrain
from jepa_ros.types import FloatArray, Observation, OccupancyForecast, Plan, SceneState
from jepa_ros.viz import theme
from jepa_ros.viz.boxes import boxed, colour_of, edges_3d, is_moving, label_of
from jepa_ros.viz.camera import Projection, camera_view, on_ground, person_box

IMAGE_WIDTH_PX, JPEG_QUALITY = 640, 72
MOST_POINTS = 1500
HEIGHTS_M = (0.15, 4.0)  # of the returns that are shown
LEVELS = 16  # of occupancy: more cannot be told apart by eye, and make the file twice as large
UNSEEN = 255  # where no sensor has looked
MOST_MODES = 4


@dataclass(frozen=True)
class Person:
    """Someone tracked, with the likeliest ways."""

    id: int
    kind: str  # person | cyclist
    place: list[float]
    speed_mps: float
    radius_m: float
    colour: str
    modes: list[tuple[float, list[list[float]]]]  # share of the likeliest, then where at each step
    box_px: list[float] | None  # left, top, right, bottom in the image shown
    way_px: list[list[float]]  # the likeliest way there


@dataclass(frozen=True)
class Box:
    """A vehicle or a cyclist, as an oriented box."""

    kind: str
    corners: list[list[float]]  # counter-clockwise from the front left
    label: str
    colour: str
    way: list[list[float]]  # the likeliest; empty where it stands
    edges_px: list[list[list[float]]]  # of the upright box in the image shown; empty behind the camera, and of cyclists


@dataclass(frozen=True)
class Moment:
    """What is known and predicted at one stamp."""

    t_s: float  # since the first moment
    camera: str  # JPEG as data URL, empty without camera
    image_px: list[int]
    points: str  # (N, 2) int16 cm, base64, little-endian
    occupancy: str  # PNG as data URL: steps below one another, rows along y, columns along x; empty where the model gives none
    people: list[Person]
    boxes: list[Box]
    surprise: float | None
    sensors: str
    plan: list[list[float]] | None
    plan_px: list[list[float]]
    plan_status: str
    braking: bool


def moment(observation: Observation, state: SceneState, plan: Plan | None, first_ns: int) -> Moment:
    """`state` belongs to `observation`; `plan`: the newest one then, in the fixed frame."""
    points_m = anchor_points(observation)
    ground = Terrain.fit(points_m, observation.ground_height_m)
    camera, model, to_pixels = camera_view(observation, state, ground)
    scale = min(1.0, IMAGE_WIDTH_PX / model.width)
    path_m = theme.to_anchor(plan.path[:, :2], state) if plan is not None and len(plan.path) > 1 else None
    return Moment(
        t_s=round((state.stamp_ns - first_ns) / 1e9, 3),
        camera=_jpeg(camera.rgb, scale) if camera is not None else "",
        image_px=[round(model.width * scale), round(model.height * scale)],
        points=_points(points_m, ground),
        occupancy=_sprite(state.occupancy),
        people=_people(state, ground, to_pixels if camera is not None else None, scale, (model.width, model.height)),
        boxes=[_box(told, state, ground, to_pixels if camera is not None else None, scale) for told in boxed(state)],
        surprise=None if math.isnan(state.surprise) else round(float(state.surprise), 3),
        sensors=" + ".join(state.sensors),
        plan=None if path_m is None else _rounded(path_m),
        plan_px=[] if path_m is None or camera is None else _line(on_ground(path_m, ground), to_pixels, scale),
        plan_status=plan.status.name if plan is not None else "no plan",
        braking=plan is not None and plan.fallback,
    )


def _people(state: SceneState, ground: Terrain, to_pixels: Projection | None, scale: float, size: tuple[int, int]) -> list[Person]:
    places, moving = theme.to_anchor(state.people.positions_m, state), theme.moving(state)
    speeds = np.hypot(*state.people.velocities_mps.reshape(-1, 2).T)
    people = []
    for i, number in enumerate(state.people.ids):
        modes = _modes(state, i) if moving[i] else []
        box = person_box(places[i], float(state.people.radii_m[i]), ground, to_pixels) if to_pixels else None
        inside = box is not None and box[0] < size[0] and box[2] > 0 and box[1] < size[1] and box[3] > 0
        way = np.array([places[i].tolist(), *modes[0][1]]) if modes and inside else np.empty((0, 2))
        people.append(
            Person(
                id=int(number),
                kind="cyclist" if state.people.cyclists[i] else "person",
                place=_rounded(places[i]),
                speed_mps=round(float(speeds[i]), 2),
                radius_m=round(float(state.people.radii_m[i]), 2),
                colour=theme.colour_of(int(number)),
                modes=modes,
                box_px=[round(value * scale, 1) for value in box] if box is not None and inside else None,
                way_px=_line(on_ground(way, ground), to_pixels, scale) if to_pixels and len(way) else [],
            )
        )
    return people


def _box(told: SceneObject, state: SceneState, ground: Terrain, to_pixels: Projection | None, scale: float) -> Box:
    edges: list[list[list[float]]] = []
    if told.kind == "vehicle" and to_pixels is not None:
        pixels, depth = to_pixels(edges_3d(told, state, float(ground.at(theme.to_anchor(told.box[:2], state)[None])[0])).reshape(-1, 3))
        edges = np.round(pixels.reshape(-1, 2, 2) * scale, 1).tolist() if depth.min() > 0.5 else []
    way = theme.to_anchor(told.poses[int(told.probabilities.argmax()), :, :2], state)
    return Box(
        kind=told.kind,
        corners=_rounded(corners(moved(told.box[None], np.linalg.inv(state.anchor_pose)))[0]),
        label=label_of(told),
        colour=colour_of(told),
        way=_rounded(way) if is_moving(told) else [],
        edges_px=edges,
    )


def _modes(state: SceneState, i: int) -> list[tuple[float, list[list[float]]]]:
    """The likeliest first."""
    forecast = state.pedestrians
    share = forecast.probabilities[i] / forecast.probabilities[i].max()
    likeliest = [mode for mode in np.argsort(-share)[:MOST_MODES] if share[mode] > 0]
    return [(round(float(share[mode]), 2), _rounded(theme.to_anchor(forecast.modes_m[i, mode], state))) for mode in likeliest]


def _line(points_m: FloatArray, to_pixels: Projection, scale: float) -> list[list[float]]:
    pixels, depth = to_pixels(points_m)
    return [[round(float(x) * scale, 1), round(float(y) * scale, 1)] for x, y in pixels[depth > 0.5]]


def _rounded(places_m: FloatArray) -> list:
    return np.round(places_m.astype(float), 2).tolist()


def _points(points_m: FloatArray, ground: Terrain) -> str:
    height = points_m[:, 2] - ground.at(points_m[:, :2])
    shown = points_m[(height > HEIGHTS_M[0]) & (height < HEIGHTS_M[1]) & (np.abs(points_m[:, :2]).max(axis=1, initial=0.0) < 300.0), :2]
    thinned = shown[:: max(1, math.ceil(len(shown) / MOST_POINTS))]
    return base64.b64encode(np.round(thinned * 100).astype("<i2").tobytes()).decode()


def _sprite(occupancy: OccupancyForecast) -> str:
    if occupancy.probability.size == 0:
        return ""
    levels = np.round(occupancy.probability * (LEVELS - 1)).astype(np.uint8) * LEVELS
    if occupancy.seen is not None:
        levels[:, ~occupancy.seen] = UNSEEN
    out = io.BytesIO()
    Image.fromarray(levels.reshape(-1, levels.shape[-1])).save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def _jpeg(rgb: np.ndarray, scale: float) -> str:
    image, out = Image.fromarray(rgb), io.BytesIO()
    if scale < 1.0:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    image.save(out, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
