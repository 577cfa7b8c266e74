"""Tracked people and their forecasts as visualization_msgs markers. Expensive, so built only for subscribers."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from jepa_ros.objects.scene.objects import PERSON_HEIGHT_M, SceneObject, objects_of
from jepa_ros.ros.conversions import Frames, likeliest, planar_pose_message
from jepa_ros.ros.stamps import header_message
from jepa_ros.ros.world_model.objects import box_pose, box_size
from jepa_ros.types import FloatArray, SceneState

LIFETIME = Duration(sec=1)  # people must not stay in the picture when the node has ended
ELLIPSE_TIMES_S = (1.2, 2.4, 4.8)
LARGEST_M = 6.0  # a wider ellipse is drawn so wide: what is known so badly fills the picture otherwise
GOLDEN_RATIO = 0.618034  # steps of hue by it keep neighbouring ids apart


def marker_array(state: SceneState, frames: Frames, top_modes: int = 6) -> MarkerArray:
    """People, ids, modes (width and opacity by probability), 1-sigma ellipses of the likeliest mode at 1.2, 2.4 and 4.8 s; boxes."""
    header = header_message(state.stamp_ns, frames.fixed)
    markers = [Marker(header=header, action=Marker.DELETEALL)]
    ground_z_m = float(state.anchor_pose[2, 3])
    for row in range(len(state.people.ids)):
        markers += [marker for marker in _person_markers(state, row, ground_z_m, top_modes)]
    for told in objects_of(state):
        if told.kind != "person":
            markers += _box_markers(told, ground_z_m, top_modes)
    for number, marker in enumerate(markers):
        marker.header, marker.id, marker.lifetime = header, number, LIFETIME
    return MarkerArray(markers=markers)


def _person_markers(state: SceneState, row: int, ground_z_m: float, top_modes: int) -> Iterator[Marker]:
    people, forecast = state.people, state.pedestrians
    person_id, radius_m = int(people.ids[row]), float(people.radii_m[row])
    x_m, y_m = (float(value) for value in people.positions_m[row])
    body = planar_pose_message(x_m, y_m, 0.0)
    body.position.z = ground_z_m + PERSON_HEIGHT_M / 2
    size = Vector3(x=2 * radius_m, y=2 * radius_m, z=PERSON_HEIGHT_M)
    yield Marker(
        ns="people", type=Marker.CYLINDER, pose=body, scale=size, color=id_colour(person_id, 0.4 + 0.5 * float(people.existence[row]))
    )

    label = planar_pose_message(x_m, y_m, 0.0)
    label.position.z = ground_z_m + PERSON_HEIGHT_M + 0.3
    speed_mps = float(np.hypot(*people.velocities_mps[row]))
    text = f"{person_id}  {speed_mps:.1f} m/s"
    yield Marker(
        ns="ids", type=Marker.TEXT_VIEW_FACING, pose=label, scale=Vector3(z=0.5), color=ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0), text=text
    )

    ranked = likeliest(forecast.probabilities[row], top_modes)
    for mode in ranked:
        probability = float(forecast.probabilities[row, mode])
        path = np.vstack([people.positions_m[row], forecast.modes_m[row, mode]])
        points = [Point(x=x, y=y, z=ground_z_m + 0.1) for x, y in path.astype(float).tolist()]
        width = Vector3(x=0.03 + 0.17 * probability)
        colour = id_colour(person_id, 0.15 + 0.85 * probability)
        yield Marker(ns="modes", type=Marker.LINE_STRIP, pose=Pose(), scale=width, color=colour, points=points)

    for step in ellipse_steps(np.asarray(forecast.times_s)):
        likely = ranked[0]
        pose, scale = ellipse(forecast.modes_m[row, likely, step], forecast.covariances_m2[row, likely, step])
        pose.position.z = ground_z_m + 0.05
        yield Marker(ns="spread", type=Marker.CYLINDER, pose=pose, scale=scale, color=id_colour(person_id, 0.25))


def _box_markers(told: SceneObject, ground_z_m: float, top_modes: int) -> Iterator[Marker]:
    """A vehicle or a cyclist: its box, an arrow from its middle to its front and on as far as it drives in a second, and its ways."""
    colour = id_colour(told.id, 0.2 + 0.4 * told.existence)
    yield Marker(ns="boxes", type=Marker.CUBE, pose=box_pose(told, ground_z_m), scale=box_size(told), color=colour)
    speed_mps = float(np.hypot(*told.velocity_mps))
    arrow = box_pose(told, ground_z_m)
    size = Vector3(x=0.5 * float(told.box[3]) + speed_mps, y=0.15, z=0.15)
    yield Marker(ns="headings", type=Marker.ARROW, pose=arrow, scale=size, color=id_colour(told.id, 0.9))
    if told.kind != "vehicle":
        return  # who rides is a person too, and has a label and ways already
    label = planar_pose_message(*told.box[:3])
    label.position.z = ground_z_m + told.height_m + 0.3
    white = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
    text = f"{told.kind}  {speed_mps:.1f} m/s"
    yield Marker(ns="ids", type=Marker.TEXT_VIEW_FACING, pose=label, scale=Vector3(z=0.5), color=white, text=text)
    for mode in likeliest(told.probabilities, top_modes):
        path = np.vstack([told.box[:2], told.poses[mode, :, :2]]).astype(float)
        points = [Point(x=x, y=y, z=ground_z_m + 0.1) for x, y in path.tolist()]
        width = Vector3(x=0.03 + 0.17 * float(told.probabilities[mode]))
        yield Marker(ns="modes", type=Marker.LINE_STRIP, pose=Pose(), scale=width, color=id_colour(told.id, 0.7), points=points)


def ellipse_steps(times_s: FloatArray) -> list[int]:
    """The forecast steps nearest to ELLIPSE_TIMES_S that the forecast reaches."""
    if not len(times_s):
        return []
    return [int(np.abs(times_s - wanted_s).argmin()) for wanted_s in ELLIPSE_TIMES_S if wanted_s < times_s[-1] + 0.5]


def ellipse(centre_m: FloatArray, covariance_m2: FloatArray) -> tuple[Pose, Vector3]:
    """Pose and diameters of the 1-sigma ellipse, as a flat cylinder; no wider than LARGEST_M."""
    variances, axes = np.linalg.eigh(covariance_m2)
    minor_m, major_m = (min(2 * float(np.sqrt(max(variance, 1e-6))), LARGEST_M) for variance in variances)
    yaw = float(np.arctan2(axes[1, 1], axes[0, 1]))
    pose = Pose(orientation=Quaternion(z=float(np.sin(yaw / 2)), w=float(np.cos(yaw / 2))))
    pose.position.x, pose.position.y = (float(value) for value in centre_m)
    return pose, Vector3(x=major_m, y=minor_m, z=0.02)


def id_colour(person_id: int, alpha: float) -> ColorRGBA:
    """A colour that stays with the person."""
    r, g, b = colorsys.hsv_to_rgb((person_id * GOLDEN_RATIO) % 1.0, 0.8, 1.0)
    return ColorRGBA(r=r, g=g, b=b, a=min(1.0, alpha))
