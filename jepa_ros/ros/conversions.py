"""From our types to messages, as plain functions. The way back is in `readers.py`, markers for viewers in `markers.py`.

Big buffers go in through `array.array`: older distributions check `bytes` element by element, which takes minutes for an image.
"""

from __future__ import annotations

import array
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion, Twist, Vector3
from nav_msgs.msg import MapMetaData, OccupancyGrid, Path
from scipy.spatial.transform import Rotation

from jepa_ros.memory import steady_motion
from jepa_ros.msg import LatentForecast, LatentState, OccupancyForecast, PedestrianForecast, PedestrianForecastArray, PedestrianMode
from jepa_ros.protocols import ModelSpec
from jepa_ros.ros.stamps import header_message, time_message
from jepa_ros.types import NANOSECONDS, FloatArray, Plan, SceneState

LATENT_DTYPE = np.dtype("<f2")  # "float16", little-endian, as the messages say


@dataclass(frozen=True)
class Frames:
    """Names of the frames that a scene is expressed in."""

    base: str = "base_link"  # names the anchor: this frame at the message's stamp, roll and pitch removed
    fixed: str = "odom"


def byte_array(values: np.ndarray) -> array.array:
    """The memory of an array, for a `uint8[]` field."""
    buffer = array.array("B")
    buffer.frombytes(np.ascontiguousarray(values).tobytes())
    return buffer


def pose_message(matrix: FloatArray) -> Pose:
    """(4, 4) homogeneous matrix -> Pose."""
    x, y, z, w = (float(value) for value in Rotation.from_matrix(matrix[:3, :3]).as_quat())
    return Pose(position=Point(**point(matrix[:3, 3])), orientation=Quaternion(x=x, y=y, z=z, w=w))


def planar_pose_message(x_m: float, y_m: float, yaw_rad: float) -> Pose:
    orientation = Quaternion(z=float(np.sin(yaw_rad / 2)), w=float(np.cos(yaw_rad / 2)))
    return Pose(position=Point(x=float(x_m), y=float(y_m)), orientation=orientation)


def point(xyz: FloatArray) -> dict[str, float]:
    return dict(zip("xyz", map(float, xyz), strict=False))


def latent_state_message(state: SceneState, spec: ModelSpec, frames: Frames) -> LatentState:
    return LatentState(
        header=header_message(state.stamp_ns, frames.base),
        model_name=spec.name,
        model_version=spec.version,
        shape=list(state.latent.shape),
        dtype="float16",
        data=byte_array(state.latent.astype(LATENT_DTYPE)),
        anchor_pose=pose_message(state.anchor_pose),
        fixed_frame_id=frames.fixed,
        surprise=float(state.surprise),
    )


def latent_forecast_message(state: SceneState, spec: ModelSpec, frames: Frames) -> LatentForecast:
    """The predicted latents, with the ego motion that the pipeline assumed: speed and turn are kept."""
    horizon = len(state.predicted)
    return LatentForecast(
        header=header_message(state.stamp_ns, frames.base),
        model_name=spec.name,
        model_version=spec.version,
        horizons_s=(spec.dt_s * np.arange(1, horizon + 1)).tolist(),
        shape=list(state.predicted.shape),
        dtype="float16",
        data=byte_array(state.predicted.astype(LATENT_DTYPE)),
        anchor_pose=pose_message(state.anchor_pose),
        fixed_frame_id=frames.fixed,
        ego_poses=[planar_pose_message(*row) for row in steady_motion(state.ego, horizon, spec.dt_s)],
    )


def occupancy_message(state: SceneState, frames: Frames) -> OccupancyForecast:
    occupancy = state.occupancy
    _, rows, columns = occupancy.probability.shape
    return OccupancyForecast(
        header=header_message(state.stamp_ns, frames.base),
        times_s=np.asarray(occupancy.times_s).tolist(),
        rows=rows,
        columns=columns,
        resolution_m=float(occupancy.resolution_m),
        origin=Point(**point(occupancy.origin_m)),
        probability=byte_array(np.rint(255 * occupancy.probability).astype(np.uint8)),
        anchor_pose=pose_message(state.anchor_pose),
        fixed_frame_id=frames.fixed,
        sensors=list(state.sensors),
    )


def occupancy_grid_message(state: SceneState, horizon_s: float, frames: Frames) -> OccupancyGrid:
    """The step nearest to `horizon_s`, in the fixed frame (the origin carries the heading), for RViz and costmaps."""
    occupancy = state.occupancy
    step = int(np.abs(np.asarray(occupancy.times_s) - horizon_s).argmin())
    corner = np.eye(4)
    corner[:2, 3] = occupancy.origin_m
    cells = array.array("b")
    cells.frombytes(np.rint(100 * occupancy.probability[step]).astype(np.int8).tobytes())
    _, rows, columns = occupancy.probability.shape
    return OccupancyGrid(
        header=header_message(state.stamp_ns, frames.fixed),
        info=MapMetaData(
            map_load_time=time_message(state.stamp_ns),
            resolution=float(occupancy.resolution_m),
            width=columns,
            height=rows,
            origin=pose_message(state.anchor_pose @ corner),
        ),
        data=cells,
    )


def pedestrians_message(state: SceneState, forecaster: str, frames: Frames, top_modes: int = 6) -> PedestrianForecastArray:
    """All tracked people with their `top_modes` most probable futures."""
    people, forecast = state.people, state.pedestrians
    times_s = np.asarray(forecast.times_s).tolist()
    persons = []
    for row, person_id in enumerate(people.ids):
        vx, vy = people.velocities_mps[row]
        persons.append(
            PedestrianForecast(
                id=int(person_id),
                pose=planar_pose_message(*people.positions_m[row], np.arctan2(vy, vx)),
                velocity=Vector3(x=float(vx), y=float(vy)),
                existence_probability=float(people.existence[row]),
                radius=float(people.radii_m[row]),
                times_s=times_s,
                modes=[mode_message(state, row, mode) for mode in likeliest(forecast.probabilities[row], top_modes)],
            )
        )
    return PedestrianForecastArray(header=header_message(state.stamp_ns, frames.fixed), forecaster=forecaster, pedestrians=persons)


def likeliest(probabilities: FloatArray, count: int) -> np.ndarray:
    """Indices of the `count` most probable modes, most likely first."""
    return np.argsort(-probabilities, kind="stable")[:count]


def mode_message(state: SceneState, row: int, mode: int) -> PedestrianMode:
    forecast = state.pedestrians
    return PedestrianMode(
        probability=float(forecast.probabilities[row, mode]),
        positions=[Point(x=x, y=y) for x, y in forecast.modes_m[row, mode].astype(float).tolist()],
        covariances=forecast.covariances_m2[row, mode].astype(float).ravel().tolist(),
    )


def path_message(plan: Plan, stamp_ns: int, frame_id: str) -> Path:
    """The plan's path; each pose is stamped with the time at which the plan is there."""
    step_ns = round(plan.dt_s * NANOSECONDS)
    poses = [
        PoseStamped(header=header_message(stamp_ns + step * step_ns, frame_id), pose=planar_pose_message(*row))
        for step, row in enumerate(plan.path)
    ]
    return Path(header=header_message(stamp_ns, frame_id), poses=poses)


def command_messages(plan: Plan) -> list[Twist]:
    return [Twist(linear=Vector3(x=float(speed)), angular=Vector3(z=float(turn))) for speed, turn in plan.commands]
