"""A folder in KITTI's format as a bag: a drive of the raw data, or a sequence of the odometry benchmark.

raw: <drive>/{oxts,velodyne_points,image_02,...}, calib_*.txt in it or above. odometry: sequences/NN/{velodyne,image_2,calib.txt,times.txt}
and poses/NN.txt. base_link is the IMU (raw) or the lidar (odometry); both look ahead with z up. Geometry after Geiger et al., Vision meets
robotics: the KITTI dataset, 2013.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np

from jepa_ros.exchange.robot_bag import Mounted, open_robot_bag
from jepa_ros.types import NANOSECONDS, CameraModel, FloatArray

EARTH_RADIUS_M = 6378137.0
EPOCH_NS = 1_317_000_000 * NANOSECONDS  # of sequences, whose times begin at 0


@dataclass(frozen=True)
class Step:
    """One frame."""

    stamp_ns: int
    odom_from_base: FloatArray  # (4, 4)
    speed_mps: float
    yaw_rate_radps: float
    images: dict[str, Path]  # by camera
    sweep: Path | None


@dataclass(frozen=True)
class Drive:
    """A folder that was read."""

    steps: list[Step]
    base_from_cameras: Mapping[str, FloatArray]
    intrinsics: Mapping[str, FloatArray]
    base_from_lidar: FloatArray


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m jepa_ros.exchange import_kitti", description="A folder in KITTI's format as a bag.")
    parser.add_argument("folder", type=Path, help="a drive of the raw data, or sequences/NN of the odometry benchmark")
    parser.add_argument("out", type=Path, help="the bag, a folder that must not exist")
    parser.add_argument("--cameras", nargs="*", default=["image_02"], help="which (default: image_02; image_2 in sequences is the same)")
    parser.add_argument("--frames", type=int, default=0, help="how many from the beginning, 0 = all (default: %(default)s)")
    arguments = parser.parse_args(argv)
    try:
        count = write(read(arguments.folder, arguments.cameras), arguments.out, arguments.frames)
    except (ValueError, OSError) as error:
        print(f"import_kitti: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.out}: {count} frames")
    return 0


def read(folder: Path, cameras: Sequence[str] = ("image_02",)) -> Drive:
    """Raises ValueError where the folder is neither."""
    wanted = [name if len(name) == len("image_02") else name.replace("image_", "image_0") for name in cameras]
    if (folder / "oxts").is_dir():
        return _raw(folder, wanted)
    if (folder / "calib.txt").is_file() and (folder / "times.txt").is_file():
        return _sequence(folder, wanted)
    raise ValueError(f"{folder}: neither a raw drive (oxts/ in it) nor a sequence (calib.txt and times.txt in it)")


def write(drive: Drive, out: Path, frames: int = 0) -> int:
    """How many frames were written. Raises ValueError where an image or a sweep cannot be read."""
    steps = drive.steps[: frames or None]
    first = {name: read_image(path) for name, path in steps[0].images.items()}
    cameras = {
        name: Mounted(CameraModel(rgb.shape[1], rgb.shape[0], drive.intrinsics[name], np.zeros(5)), drive.base_from_cameras[name])
        for name, rgb in first.items()
    }
    with open_robot_bag(out, cameras, drive.base_from_lidar) as bag:
        for step in steps:
            bag.place(step.stamp_ns, step.odom_from_base, step.speed_mps, step.yaw_rate_radps)
            for name, path in step.images.items():
                bag.image(step.stamp_ns, name, read_image(path))
            if step.sweep is not None:
                raw = np.fromfile(step.sweep, "<f4")
                if len(raw) % 4:
                    raise ValueError(f"{step.sweep} is cut off: {len(raw)} numbers are no multiple of 4")
                points = raw.reshape(-1, 4)
                bag.sweep(step.stamp_ns, points[:, :3], points[:, 3])
    return len(steps)


def _raw(folder: Path, cameras: list[str]) -> Drive:
    place = next((one for one in (folder, folder.parent, folder.parent.parent) if (one / "calib_velo_to_cam.txt").is_file()), None)
    if place is None:
        raise ValueError(f"{folder}: calib_velo_to_cam.txt is neither in it nor above; fetch the calibration of its day")
    cams, velo = _table(place / "calib_cam_to_cam.txt"), _table(place / "calib_velo_to_cam.txt")
    imu = _table(place / "calib_imu_to_velo.txt")
    base_from_lidar = np.linalg.inv(_rigid(imu["R"], imu["T"]))
    rectified = np.eye(4)
    rectified[:3, :3] = cams["R_rect_00"].reshape(3, 3)
    base_from_rectified = base_from_lidar @ np.linalg.inv(rectified @ _rigid(velo["R"], velo["T"]))
    found = [name for name in cameras if (folder / name / "data").is_dir()]
    projections = {name: cams[f"P_rect_{name[-2:]}"].reshape(3, 4) for name in found}
    fixes = sorted((folder / "oxts" / "data").glob("*.txt"))
    stamps = [_stamp(line) for line in (folder / "oxts" / "timestamps.txt").read_text().split("\n") if line.strip()]
    if not fixes or len(stamps) < len(fixes):
        raise ValueError(f"{folder}/oxts: {len(fixes)} files and {len(stamps)} timestamps")
    oxts = [np.array(path.read_text().split(), float) for path in fixes]
    poses = list(_oxts_poses(oxts))
    steps = [
        Step(
            stamp_ns,
            pose,
            values[8],
            values[19],
            _images(folder, found, path.stem, "data"),
            _sweep(folder / "velodyne_points" / "data", path.stem),
        )
        for stamp_ns, pose, values, path in zip(stamps, poses, oxts, fixes, strict=False)
    ]
    return _drive(steps, projections, base_from_rectified, base_from_lidar)


def _sequence(folder: Path, cameras: list[str]) -> Drive:
    calibration = _table(folder / "calib.txt")
    poses_path = folder.parent.parent / "poses" / f"{folder.name}.txt"
    if not poses_path.is_file():
        raise ValueError(f"{poses_path} is missing: without poses there is no odometry (sequences 11 to 21 have none)")
    velo = np.vstack([calibration["Tr"].reshape(3, 4), [0, 0, 0, 1]])
    times_s = np.loadtxt(folder / "times.txt").reshape(-1)
    in_camera = [np.vstack([row.reshape(3, 4), [0, 0, 0, 1]]) for row in np.loadtxt(poses_path).reshape(-1, 12)]
    poses = [np.linalg.inv(velo) @ pose @ velo for pose in in_camera]
    found = [name for name in cameras if (folder / name.replace("image_0", "image_")).is_dir()]
    projections = {name: calibration[f"P{name[-1]}"].reshape(3, 4) for name in found}
    steps = []
    for index, (time_s, pose) in enumerate(zip(times_s, poses, strict=False)):
        speed, rate = _twist(poses, times_s, index)
        images = {name: folder / name.replace("image_0", "image_") / f"{index:06d}.png" for name in found}
        steps.append(Step(EPOCH_NS + round(time_s * NANOSECONDS), pose, speed, rate, images, _sweep(folder / "velodyne", f"{index:06d}")))
    return _drive(steps, projections, np.linalg.inv(velo), np.eye(4))


def _drive(steps: list[Step], projections: dict[str, FloatArray], base_from_rectified: FloatArray, base_from_lidar: FloatArray) -> Drive:
    """A camera's projection is its intrinsics and how far it sits from the first one."""
    if not steps:
        raise ValueError("no frame")
    intrinsics = {name: matrix[:, :3] for name, matrix in projections.items()}
    mounts = {}
    for name, matrix in projections.items():
        aside = np.eye(4)
        aside[:3, 3] = -np.linalg.solve(matrix[:, :3], matrix[:, 3])
        mounts[name] = base_from_rectified @ aside
    return Drive(steps, mounts, intrinsics, base_from_lidar)


def _oxts_poses(oxts: list[FloatArray]) -> Iterator[FloatArray]:
    """(4, 4) each, from the first one's place, axes east and north turned to its heading: Mercator's projection."""
    scale = math.cos(math.radians(oxts[0][0]))
    origin_inverse: FloatArray | None = None
    for latitude, longitude, altitude, roll, pitch, yaw, *_ in oxts:
        east = scale * EARTH_RADIUS_M * math.radians(longitude)
        north = scale * EARTH_RADIUS_M * math.log(math.tan(math.radians(90.0 + latitude) / 2.0))
        pose = _rigid(_turn(2, yaw) @ _turn(1, pitch) @ _turn(0, roll), np.array([east, north, altitude]))
        if origin_inverse is None:
            origin_inverse = np.linalg.inv(_rigid(_turn(2, yaw), pose[:3, 3]))
        yield origin_inverse @ pose


def _twist(poses: list[FloatArray], times_s: FloatArray, index: int) -> tuple[float, float]:
    """Forward speed and yaw rate by the poses before and after."""
    before, after = max(index - 1, 0), min(index + 1, len(poses) - 1)
    between = np.linalg.inv(poses[before]) @ poses[after]
    dt_s = max(float(times_s[after] - times_s[before]), 1e-3)
    return float(between[0, 3]) / dt_s, math.atan2(between[1, 0], between[0, 0]) / dt_s


def _turn(axis: int, angle_rad: float) -> FloatArray:
    a, b = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[[a, b], [a, b]] = math.cos(angle_rad)
    matrix[a, b], matrix[b, a] = -math.sin(angle_rad), math.sin(angle_rad)
    return matrix


def _rigid(rotation: FloatArray, translation: FloatArray) -> FloatArray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation.reshape(3, 3), translation
    return pose


def _table(path: Path) -> dict[str, FloatArray]:
    """Lines of "name: numbers"."""
    rows = {}
    for line in path.read_text().splitlines():
        name, _, numbers = line.partition(":")
        try:
            rows[name.strip()] = np.array(numbers.split(), float)
        except ValueError:
            continue  # the date
    return rows


def _stamp(line: str) -> int:
    """ns of "2011-09-26 13:02:25.964389445", UTC."""
    whole, _, part = line.strip().partition(".")
    seconds = datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc).timestamp()
    return int(seconds) * NANOSECONDS + int(part.ljust(9, "0")[:9] or 0)


def _images(folder: Path, cameras: list[str], stem: str, inside: str) -> dict[str, Path]:
    paths = {name: next((folder / name / inside).glob(f"{stem}.*"), None) for name in cameras}
    return {name: path for name, path in paths.items() if path is not None}


def _sweep(folder: Path, stem: str) -> Path | None:
    path = folder / f"{stem}.bin"
    return path if path.is_file() else None


def read_image(path: Path) -> np.ndarray:
    """(height, width, 3) rgb. Raises ValueError where it is none."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError(f"{path} cannot be read as an image")
    return bgr[..., ::-1]
