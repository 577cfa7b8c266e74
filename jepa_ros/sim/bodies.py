"""The MuJoCo model of a place and of what moves in it. Bodies are posed by hand (mocap): MuJoCo only casts the rays."""

from __future__ import annotations

import mujoco
import numpy as np

from jepa_ros.sim.people.crowd import Crowd
from jepa_ros.sim.people.recorded_crowd import RecordedCrowd
from jepa_ros.sim.people.social_force import step_length_m
from jepa_ros.sim.people.traffic import Vehicle
from jepa_ros.sim.places.furniture import CAR_PAINT, RGB
from jepa_ros.sim.places.layout import MATERIALS, REFLECTIVITY, Layout
from jepa_ros.types import FloatArray

_SHAPES = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "ellipsoid": mujoco.mjtGeom.mjGEOM_ELLIPSOID,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
}
STATIC, MOVING = 0, 1  # geom groups: solids, and everything that throws its shadow anew in each frame
HIP, SHOULDER, HEAD = 0.50, 0.80, 0.93  # shares of the body height
CYCLIST_SIZE_M = (1.8, 0.6, 1.75)
_LYING = (np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0)  # turns a cylinder's axis from z to y


def compile_model(layout: Layout, crowd: Crowd | RecordedCrowd, vehicles: list[Vehicle], rng: np.random.Generator) -> mujoco.MjModel:
    """Static solids, then per vehicle one mocap body, then per person three (trunk, left leg, right leg).

    geom_user holds (reflectivity, index into MATERIALS) of each geom; geom_rgba its colour.
    """
    spec = mujoco.MjSpec()
    spec.nuser_geom = 2
    world = spec.worldbody
    ground = ("paving", (0.55, 0.54, 0.52)) if layout.indoor else ("asphalt", (0.30, 0.30, 0.31))
    world.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1], **_look(*ground, group=STATIC))
    for solid in layout.solids:
        half = solid.yaw_rad / 2
        world.add_geom(
            type=_SHAPES[solid.shape],
            pos=solid.position_m,
            size=solid.half_size_m,
            quat=[np.cos(half), 0, 0, np.sin(half)],
            **_look(solid.material, solid.rgb, group=STATIC),
        )
    for x, y, yaw in layout.parked:
        # Part of the world body: every further body costs each ray a look.
        already = len(world.geoms)
        _add_car(world, rng)
        place = world.add_frame(pos=[x, y, 0], quat=[np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)])
        for geom in world.geoms[already:]:
            geom.set_frame(place)
    for vehicle in vehicles:
        body = world.add_body(mocap=True)
        _add_car(body, rng) if vehicle.kind == "car" else _add_cyclist(body, rng)
    for height in crowd.heights_m:
        _add_person(world, float(height), rng)
    return spec.compile()


def pose_bodies(data: mujoco.MjData, layout: Layout, crowd: Crowd | RecordedCrowd, vehicles: list[Vehicle]) -> None:
    """Put every moving body where it is now."""
    for index, vehicle in enumerate(vehicles):
        x, y, yaw = vehicle.pose
        data.mocap_pos[index] = x, y, 0.0
        data.mocap_quat[index] = np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)
    floor = layout.ground_height_m(crowd.positions_m)
    speed = np.linalg.norm(crowd.velocities_mps, axis=1)
    leg = HIP * crowd.heights_m
    swing = np.arcsin(np.clip(0.5 * step_length_m(speed) / leg, 0.0, 0.6)) * np.clip(speed / 0.6, 0.0, 1.0) * np.sin(crowd.gait_rad)
    half = crowd.headings_rad / 2
    first = len(vehicles)
    across = np.stack([-np.sin(crowd.headings_rad), np.cos(crowd.headings_rad)], axis=1) * 0.10
    for part, (side, lean) in enumerate([(0.0, 0.0 * swing), (1.0, swing), (-1.0, -swing)]):
        rows = slice(first + part, first + part + 3 * len(half), 3)
        data.mocap_pos[rows, :2] = crowd.positions_m + side * across
        data.mocap_pos[rows, 2] = floor + (leg if part else 0.0)
        # Heading about z, then the leg's swing about the body's own y axis.
        c, s = np.cos(lean / 2), np.sin(lean / 2)
        data.mocap_quat[rows] = np.stack([np.cos(half) * c, -np.sin(half) * s, np.cos(half) * s, np.sin(half) * c], axis=1)
    mujoco.mj_kinematics(data.model, data)


def _look(material: str, rgb: RGB, reflectivity: float | None = None, group: int = MOVING) -> dict:
    # MuJoCo prunes rays by its bounding volumes only over geoms that could collide, hence contype = 1.
    value = REFLECTIVITY[material] if reflectivity is None else reflectivity
    return {
        "rgba": [*np.clip(rgb, 0, 1), 1.0],
        "userdata": [value, MATERIALS.index(material)],
        "contype": 1,
        "conaffinity": 0,
        "group": group,
    }


def _limb(body: mujoco.MjsBody, a: FloatArray | list[float], b: FloatArray | list[float], radius: float, look: dict) -> None:
    body.add_geom(type=_SHAPES["capsule"], fromto=[*a, *b], size=[radius, 0, 0], **look)


def _add_person(world: mujoco.MjsBody, height: float, rng: np.random.Generator) -> None:
    skin = _look("skin", ((0.85, 0.65, 0.52), (0.60, 0.42, 0.30), (0.38, 0.26, 0.19))[rng.integers(3)])
    shirt = _look("cloth", tuple(rng.uniform(0.08, 0.95, 3)), rng.uniform(0.15, 0.8))
    trousers = _look("cloth", tuple(rng.uniform(0.05, 0.45) * np.array([0.8, 0.85, 1.0])), rng.uniform(0.1, 0.5))
    hip, shoulder = HIP * height, SHOULDER * height
    width = rng.uniform(0.13, 0.17)
    trunk = world.add_body(mocap=True)
    centre = (hip + shoulder) / 2 + 0.02
    trunk.add_geom(type=_SHAPES["ellipsoid"], pos=[0, 0, centre], size=[0.13, width + 0.05, (shoulder - hip) / 2 + 0.09], **shirt)
    trunk.add_geom(type=_SHAPES["sphere"], pos=[0.02, 0, HEAD * height], size=[0.115, 0, 0], **skin)
    for side in (1.0, -1.0):
        _limb(trunk, [0, side * (width + 0.05), shoulder - 0.05], [0.05, side * (width + 0.09), hip - 0.02], 0.045, shirt)
    for _side in (1.0, -1.0):
        leg = world.add_body(mocap=True)
        _limb(leg, [0, 0, 0], [0, 0, -(hip - 0.10)], 0.075, trousers)
        leg.add_geom(type=_SHAPES["box"], pos=[0.06, 0, -hip + 0.04], size=[0.13, 0.045, 0.04], **_look("rubber", (0.1, 0.1, 0.1), 0.2))


def _add_car(body: mujoco.MjsBody, rng: np.random.Generator) -> None:
    paint = _look("metal", CAR_PAINT[rng.integers(len(CAR_PAINT))], rng.uniform(0.15, 0.7))
    glass = _look("glass", (0.12, 0.15, 0.18))
    van = rng.random() < 0.2
    half, roof = rng.uniform(1.95, 2.25), 2.0 if van else rng.uniform(1.40, 1.55)
    box = _SHAPES["box"]
    body.add_geom(type=box, pos=[0, 0, 0.55], size=[half, 0.88, 0.33], **paint)
    cabin, back = (half * 0.72, -0.22 * half) if van else (half * 0.52, -0.12 * half)
    body.add_geom(type=box, pos=[back, 0, 0.85 + (roof - 0.9) / 2], size=[cabin, 0.78, (roof - 0.9) / 2], **glass)
    body.add_geom(type=box, pos=[back, 0, roof - 0.03], size=[cabin * 0.86, 0.74, 0.05], **paint)
    for x in (0.62 * half, -0.62 * half):
        for y in (0.80, -0.80):
            body.add_geom(
                type=_SHAPES["cylinder"], pos=[x, y, 0.32], quat=_LYING, size=[0.32, 0.10, 0], **_look("rubber", (0.06, 0.06, 0.06))
            )
    for x, rgb in ((half, (0.95, 0.95, 0.85)), (-half, (0.75, 0.05, 0.05))):
        for y in (0.65, -0.65):
            body.add_geom(type=box, pos=[x, y, 0.68], size=[0.03, 0.16, 0.08], **_look("plate", rgb))
        body.add_geom(type=box, pos=[x, 0, 0.45], size=[0.03, 0.26, 0.06], **_look("plate", (0.9, 0.9, 0.9)))


def _add_cyclist(body: mujoco.MjsBody, rng: np.random.Generator) -> None:
    shirt = _look("cloth", tuple(rng.uniform(0.1, 0.95, 3)), rng.uniform(0.3, 0.9))
    trousers, frame = _look("cloth", (0.12, 0.12, 0.18), 0.2), _look("metal", tuple(rng.uniform(0.1, 0.8, 3)))
    for x in (0.52, -0.52):
        body.add_geom(type=_SHAPES["cylinder"], pos=[x, 0, 0.34], quat=_LYING, size=[0.34, 0.02, 0], **_look("rubber", (0.08, 0.08, 0.08)))
    _limb(body, [-0.52, 0, 0.34], [-0.15, 0, 0.88], 0.025, frame)
    _limb(body, [-0.15, 0, 0.88], [0.45, 0, 0.82], 0.025, frame)
    _limb(body, [0.52, 0, 0.34], [0.42, 0, 1.02], 0.025, frame)
    _limb(body, [-0.18, 0, 1.02], [0.14, 0, 1.42], 0.16, shirt)
    body.add_geom(type=_SHAPES["sphere"], pos=[0.26, 0, 1.63], size=[0.12, 0, 0], **_look("skin", (0.80, 0.60, 0.48)))
    for side in (1.0, -1.0):
        _limb(body, [0.12, 0.17 * side, 1.38], [0.42, 0.22 * side, 1.05], 0.045, shirt)
        _limb(body, [-0.12, 0.11 * side, 0.92], [0.22, 0.12 * side, 0.70 + 0.12 * side], 0.075, trousers)
        _limb(body, [0.22, 0.12 * side, 0.70 + 0.12 * side], [0.02, 0.12 * side, 0.32 + 0.12 * side], 0.06, trousers)
