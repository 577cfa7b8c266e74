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
from jepa_ros.types import NANOSECONDS, OCCUPIED_FROM, FloatArray, Plan, SceneState
from jepa_ros.types import OccupancyForecast as Occupancy

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
    """A pose on the ground plane."""
    orientation = Quaternion(z=float(np.sin(yaw_rad / 2)), w=float(np.cos(yaw_rad / 2)))
    return Pose(position=Point(x=float(x_m), y=float(y_m)), orientation=orientation)


def point(xyz: FloatArray) -> dict[str, float]:
    """(3,) coordinates as the keyword arguments of a Point or Vector3."""
    return dict(zip("xyz", map(float, xyz), strict=False))


def latent_state_message(state: SceneState, spec: ModelSpec, frames: Frames) -> LatentState:
    """The latents of now, with the pose of their anchor frame."""
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
    """Occupancy now and at each future step, one byte a cell."""
    occupancy = state.occupancy
    _, rows, columns = occupancy.probability.shape
    return OccupancyForecast(
        header=header_message(state.stamp_ns, frames.base),
        times_s=np.asarray(occupancy.times_s).tolist(),
        rows=rows,
        columns=columns,
        resolution_m=float(occupancy.resolution_m),
        origin=Point(**point(occupancy.origin_m)),
        probability=_probability_bytes(occupancy.probability),
        anchor_pose=pose_message(state.anchor_pose),
        fixed_frame_id=frames.fixed,
        sensors=list(state.sensors),
        seen=byte_array(known_cells(occupancy).astype(np.uint8)),
        from_latents=_probability_bytes(occupancy.from_latents) if occupancy.from_latents is not None else array.array("B"),
    )


def _probability_bytes(probability: np.ndarray) -> array.array:
    """0-255 for 0-1; what is no number counts as occupied."""
    return byte_array(np.rint(255 * np.nan_to_num(probability, nan=1.0).clip(0.0, 1.0)).astype(np.uint8))


def known_cells(occupancy: Occupancy) -> np.ndarray:
    """(Y, X) True where something is known: a sensor has looked there, and every probability is a number."""
    known: np.ndarray = np.isfinite(occupancy.probability).all(axis=0)
    return known if occupancy.seen is None else known & occupancy.seen


def occupancy_grid_message(state: SceneState, horizon_s: float, frames: Frames) -> OccupancyGrid:
    """The step nearest to `horizon_s`, for RViz and costmaps: percent, -1 = unknown, axes along the fixed frame's.

    The origin carries no rotation, because a Nav2 static layer reads position and size only; the size is the same at every heading.
    """
    occupancy = state.occupancy
    step = int(np.abs(np.asarray(occupancy.times_s) - horizon_s).argmin())
    known_YX = np.where(known_cells(occupancy), occupancy.probability[step], np.nan)
    cells_YX, corner_m = axis_aligned(known_YX, state.anchor_pose, occupancy.origin_m, occupancy.resolution_m)
    cells = array.array("b")
    percent = np.rint(100 * cells_YX.clip(0.0, 1.0))
    cells.frombytes(np.where(np.isfinite(cells_YX), percent, -1).astype(np.int8).tobytes())
    rows, columns = cells_YX.shape
    return OccupancyGrid(
        header=header_message(state.stamp_ns, frames.fixed),
        info=MapMetaData(
            map_load_time=time_message(state.stamp_ns),
            resolution=float(occupancy.resolution_m),
            width=columns,
            height=rows,
            origin=Pose(position=Point(x=corner_m[0], y=corner_m[1], z=float(state.anchor_pose[2, 3]))),
        ),
        data=cells,
    )


def axis_aligned(
    cells_YX: FloatArray, fixed_from_anchor: FloatArray, origin_m: tuple[float, float], resolution_m: float
) -> tuple[FloatArray, tuple[float, float]]:
    """A grid of the anchor frame as a square one along the fixed frame's axes, and the outer corner of its cell [0, 0]. NaN = unknown.

    Its corner lies on whole cells of the fixed frame, so that what stands keeps its cell from one message to the next. A cell takes the
    value at its centre, or a higher one of those that have their centre in it: nothing occupied is lost between the two rasters.
    """
    rows, columns = cells_YX.shape
    if cells_YX.size == 0:
        return np.zeros((0, 0)), (float(fixed_from_anchor[0, 3]), float(fixed_from_anchor[1, 3]))
    rotation, shift = fixed_from_anchor[:2, :2], fixed_from_anchor[:2, 3]
    side = int(np.ceil(np.hypot(rows, columns))) + 1
    middle_m = rotation @ (np.array(origin_m) + 0.5 * resolution_m * np.array([columns, rows])) + shift
    first = np.floor(middle_m / resolution_m - 0.5 * side).astype(int)  # cell [0, 0], counted from the fixed frame's origin
    aligned = np.full((side, side), np.nan)
    # Rotations of a raster are sums of what a row and what a column adds.
    columns_YX, rows_YX = _whole_cells(first + 0.5 - shift / resolution_m, rotation.T, np.array(origin_m) / resolution_m, side, side)
    inside = (columns_YX >= 0) & (columns_YX < columns) & (rows_YX >= 0) & (rows_YX < rows)
    aligned[inside] = cells_YX[rows_YX[inside], columns_YX[inside]]
    x_YX, y_YX = _whole_cells(np.array(origin_m) / resolution_m + 0.5, rotation, first - shift / resolution_m, rows, columns)
    unknown_YX = inside & np.isnan(aligned)
    np.fmax.at(aligned.reshape(-1), (y_YX.astype(np.intp) * side + x_YX).ravel(), cells_YX.ravel().astype(np.float64))  # fastest so
    aligned[unknown_YX & (aligned < OCCUPIED_FROM)] = np.nan  # a neighbour that is free makes nothing known
    return aligned, (float(first[0] * resolution_m), float(first[1] * resolution_m))


def _whole_cells(start: FloatArray, rotation: FloatArray, origin: FloatArray, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """(Y, X) column and row, in cells from `origin`, of each place start + (x, y) of a raster after the rotation. All in cells."""
    x_X, y_Y = start[0] + np.arange(columns), start[1] + np.arange(rows)
    turned = [rotation[axis, 0] * x_X[None] + rotation[axis, 1] * y_Y[:, None] - origin[axis] for axis in (0, 1)]
    return np.floor(turned[0]).astype(np.int32), np.floor(turned[1]).astype(np.int32)


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
    """One mode of one person's forecast."""
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
    """The commands of a plan, one Twist a step."""
    return [Twist(linear=Vector3(x=float(speed)), angular=Vector3(z=float(turn))) for speed, turn in plan.commands]
