"""Small real messages for the sensing tests, of the classes that bags deserialise to."""

from __future__ import annotations

import numpy as np
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.LATEST)
TYPES = {
    name.rsplit("/", 1)[1]: kind
    for name, kind in STORE.types.items()
    if name.split("/")[0] in ("builtin_interfaces", "std_msgs", "sensor_msgs", "geometry_msgs", "nav_msgs", "tf2_msgs")
}
START_S = 1000.0
NUMPY_OF = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
UNIT = (0.0, 0.0, 0.0, 1.0)


def header(stamp_s: float, frame: str):
    nanoseconds = round(stamp_s * 1e9)
    return TYPES["Header"](stamp=TYPES["Time"](sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9), frame_id=frame)


def image(
    stamp_s: float = START_S,
    encoding: str = "rgb8",
    pixels: np.ndarray | None = None,
    step: int | None = None,
    bigendian: bool = False,
    frame: str = "camera",
):
    """`pixels`: (H, W[, C]) of the encoding's type in native order; `step` pads the rows."""
    pixels = np.zeros((4, 6, 3), np.uint8) if pixels is None else pixels
    height, width = pixels.shape[:2]
    rows = pixels.astype(pixels.dtype.newbyteorder(">" if bigendian else "<")).reshape(height, -1).view(np.uint8)
    step = step or rows.shape[1]
    padded = np.full((height, step), 77, np.uint8)
    padded[:, : rows.shape[1]] = rows
    return TYPES["Image"](
        header(stamp_s, frame),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(bigendian),
        step=step,
        data=padded.reshape(-1),
    )


def compressed(stamp_s: float, data: bytes, layout: str = "jpeg", frame: str = "camera"):
    return TYPES["CompressedImage"](header(stamp_s, frame), format=layout, data=np.frombuffer(data, np.uint8))


def camera_info(stamp_s: float = START_S, width: int = 6, height: int = 4, k=None, d=(), model: str = "plumb_bob", frame: str = "camera"):
    k = np.array([3.0, 0, (width - 1) / 2, 0, 3.0, (height - 1) / 2, 0, 0, 1] if k is None else k, float)
    roi = TYPES["RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return TYPES["CameraInfo"](
        header(stamp_s, frame),
        height=height,
        width=width,
        distortion_model=model,
        d=np.array(d, float),
        k=k,
        r=np.eye(3).reshape(-1),
        p=np.zeros(12),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )


def cloud(
    stamp_s: float = START_S,
    fields: list[tuple[str, int, int]] | None = None,
    values: dict[str, np.ndarray] | None = None,
    point_step: int = 16,
    height: int = 1,
    row_padding: int = 0,
    bigendian: bool = False,
    frame: str = "lidar",
):
    """`fields`: (name, datatype, offset); `values`: (N,) per name. By default five points, x y z intensity in 16 bytes."""
    fields = fields or [(name, 7, 4 * index) for index, name in enumerate(("x", "y", "z", "intensity"))]
    values = values or {name: np.arange(5) + 10 * index + 5.0 for index, (name, _, _) in enumerate(fields)}
    count = len(values[fields[0][0]])
    order = ">" if bigendian else "<"
    dtype = np.dtype(
        {
            "names": [name for name, _, _ in fields],
            "formats": [order + NUMPY_OF[kind] for _, kind, _ in fields],
            "offsets": [offset for _, _, offset in fields],
            "itemsize": point_step,
        }
    )
    points = np.zeros(count, dtype)
    for name, _, _ in fields:
        points[name] = values[name]
    width = count // height
    rows = np.full((height, width * point_step + row_padding), 77, np.uint8)
    rows[:, : width * point_step] = points.view(np.uint8).reshape(height, -1)
    described = [TYPES["PointField"](name=name, offset=offset, datatype=kind, count=1) for name, kind, offset in fields]
    return TYPES["PointCloud2"](
        header(stamp_s, frame),
        height=height,
        width=width,
        fields=described,
        is_bigendian=bigendian,
        point_step=point_step,
        row_step=rows.shape[1],
        data=rows.reshape(-1),
        is_dense=True,
    )


def vector(x: float = 0.0, y: float = 0.0, z: float = 0.0):
    return TYPES["Vector3"](x=x, y=y, z=z)


def quaternion(xyzw=UNIT):
    return TYPES["Quaternion"](*xyzw)


def yaw_quaternion(yaw: float):
    return (0.0, 0.0, float(np.sin(yaw / 2)), float(np.cos(yaw / 2)))


def odometry(
    stamp_s: float = START_S,
    x: float = 0.0,
    yaw: float = 0.0,
    speed: float = 0.0,
    yaw_rate: float = 0.0,
    frame: str = "odom",
    child: str = "base_link",
    q=None,
):
    pose = TYPES["Pose"](position=TYPES["Point"](x=x, y=0.0, z=0.0), orientation=quaternion(yaw_quaternion(yaw) if q is None else q))
    twist = TYPES["Twist"](linear=vector(speed), angular=vector(z=yaw_rate))
    covariance = np.zeros(36)
    return TYPES["Odometry"](
        header(stamp_s, frame),
        child_frame_id=child,
        pose=TYPES["PoseWithCovariance"](pose, covariance),
        twist=TYPES["TwistWithCovariance"](twist, covariance),
    )


def transforms(*edges):
    """Each edge: (stamp_s, parent, child, (x, y, z), quaternion xyzw)."""
    stamped = [
        TYPES["TransformStamped"](
            header(stamp_s, parent), child_frame_id=child, transform=TYPES["Transform"](vector(*position), quaternion(q))
        )
        for stamp_s, parent, child, position, q in edges
    ]
    return TYPES["TFMessage"](stamped)


EXTRINSICS = ((0.0, "base_link", "lidar", (1.0, 0.0, 2.0), UNIT), (0.0, "base_link", "camera", (0.5, 0.0, 1.5), (-0.5, 0.5, -0.5, 0.5)))
