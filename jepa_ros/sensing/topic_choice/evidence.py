"""What the first messages of a topic show about it. Nothing here raises for a bad message."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from jepa_ros.sensing.decode.camera_info import calibration, is_rectified
from jepa_ros.sensing.decode.cloud import decode_cloud
from jepa_ros.sensing.decode.errors import MalformedMessage, byte_view
from jepa_ros.sensing.decode.image import decode_compressed_image
from jepa_ros.sensing.frames.odometry import is_upright
from jepa_ros.sensing.topic_choice.message_types import COMPRESSED, ROLE_OF
from jepa_ros.types import NANOSECONDS, FloatArray

UNREADABLE = (AttributeError, TypeError, ValueError, OverflowError, IndexError)
ENOUGH_FRAMES = 3  # images and clouds that are looked at closely; those after them are only counted
KEPT_POINTS = 200_000
FEW_SHADES = 16  # an image with no more different values or colours, in all that was looked at, is drawn, not taken
PIXELS = 20_000
MOVED_M = 0.5
TURNED = np.sin(np.radians(2.0) / 2)  # of a heading: about the vertical; the tilt of a position with an IMU beside it is none
OFF_COURSE = np.radians(30.0)  # between heading and way; wheels slip less
SIDEWAYS_MPS = 0.05
CHANNELS = {"mono8": 1, "8uc1": 1, "mono16": 1, "rgb8": 3, "bgr8": 3, "8uc3": 3, "rgba8": 4, "bgra8": 4, "8uc4": 4}
PNG_MAGIC, PNG_DEPTH, PNG_COLOUR = b"\x89PNG\r\n\x1a\n", 24, 25  # bits of a channel; 0 = grey
WAYS = 64  # stretches that are remembered
STRETCHES_OFF = 5  # in a row that lead off the heading: 2.5 m
FEWEST_STRETCHES = 3  # of MOVED_M; localisation may jump once, and back
SLOW_S = 0.35  # odometry that comes less often is no ego motion: velocities and poses between its samples are guesses
ENOUGH_ODOMETRY = 40
ENOUGH_STRETCHES = 40  # straight on for so long, any heading will do


@dataclass
class Evidence:
    """Of one topic: what its messages so far have shown."""

    topic: str
    type_name: str
    count: int = 0
    unusable: str = ""  # the reason why its messages so far were of no use; empty where one was good
    frame: str = ""
    first_ns: int | None = None  # stamps
    last_ns: int | None = None
    lag_ns: int = 0  # the most by which it came after its stamp

    @property
    def role(self) -> str:
        return ROLE_OF[self.type_name]

    def look(self, message: Any, arrival_ns: int) -> None:
        """One more message. `arrival_ns`: when it came, or was logged."""
        self.count += 1
        try:
            self.frame = str(message.header.frame_id).lstrip("/")
            stamp = int(message.header.stamp.sec) * NANOSECONDS + int(message.header.stamp.nanosec)
            self.first_ns, self.last_ns = self.first_ns if self.first_ns is not None else stamp, stamp
            self.lag_ns = arrival_ns - stamp if self.count == 1 else max(self.lag_ns, arrival_ns - stamp)
            self._look(message, stamp)
            self.unusable = ""
        except UNREADABLE as error:
            self.unusable = self.unusable or (error.args[0] if error.args else type(error).__name__)

    def _look(self, message: Any, stamp: int) -> None:
        raise NotImplementedError

    @property
    def enough(self) -> bool:
        """Whether more messages would not change the verdict."""
        return self.count >= ENOUGH_FRAMES


@dataclass
class CloudEvidence(Evidence):
    """Of a PointCloud2 topic."""

    points: int = 0  # of the largest
    fields: frozenset[str] = frozenset()
    sweeps: deque[tuple[int, str, NDArray[np.float32]]] = field(default_factory=lambda: deque(maxlen=ENOUGH_FRAMES))  # stamp, frame, points

    def _look(self, message: Any, stamp: int) -> None:
        if self.count > 4 * ENOUGH_FRAMES and self.points:
            return
        self.fields = frozenset(str(described.name).lower() for described in message.fields)
        cloud = decode_cloud(message)
        if not len(cloud.points_m):
            raise MalformedMessage("no_points", "an empty cloud")
        self.points = max(self.points, len(cloud.points_m))
        self.sweeps.append((stamp, self.frame, cloud.points_m[:KEPT_POINTS]))

    def forget_sweeps(self) -> None:
        """The points are no longer needed."""
        self.sweeps.clear()


@dataclass
class ImageEvidence(Evidence):
    """Of an Image or CompressedImage topic."""

    encoding: str = ""
    video: str = ""  # the codec of a CompressedImage that holds frames of a video
    shades: set[int] = field(default_factory=set)

    def _look(self, message: Any, stamp: int) -> None:
        if self.type_name == COMPRESSED:
            self._look_compressed(message)
            return
        self.encoding = str(message.encoding)
        channels = CHANNELS.get(self.encoding.lower())
        if self.count > ENOUGH_FRAMES or channels is None:
            return
        data = byte_view(message.data)
        self._look_at_shades(data[: len(data) - len(data) % channels].reshape(-1, channels))

    def _look_compressed(self, message: Any) -> None:
        words = str(message.format).lower().replace(",", ";").split(";")
        self.encoding = words[0].strip() if len(words) > 1 else ""
        if "compresseddepth" in str(message.format).lower():
            self.encoding = "16UC1"
        self.video = next((codec for codec in ("h264", "h265", "hevc", "av1", "vp9", "theora") if codec in str(message.format).lower()), "")
        header = byte_view(message.data)[: PNG_COLOUR + 1].tobytes()
        if self.count > ENOUGH_FRAMES or self.video or not header.startswith(PNG_MAGIC) or len(header) <= PNG_COLOUR:
            return  # jpeg draws no clean masks, and holds no 16 bits
        if not self.encoding:
            self.encoding = ("mono16" if header[PNG_DEPTH] == 16 else "mono8") if header[PNG_COLOUR] == 0 else "rgb8"
        if header[PNG_DEPTH] <= 8:
            pixels = decode_compressed_image(message)
            self._look_at_shades(pixels.reshape(-1, pixels.shape[-1]))

    def _look_at_shades(self, pixels: NDArray[np.uint8]) -> None:
        """(N, C) values, of which some are enough."""
        some = pixels[:: max(len(pixels) // PIXELS, 1)].astype(np.int64)
        self.shades |= set(np.unique(some @ (256 ** np.arange(some.shape[1]))).tolist())

    @property
    def is_grey(self) -> bool:
        return self.encoding.lower() in ("mono8", "8uc1", "mono16")

    @property
    def is_depth(self) -> bool:
        """Distances or class numbers, not light."""
        return self.encoding.lower() in ("16uc1", "16sc1", "32fc1", "64fc1", "32sc1", "8sc1", "32fc2", "16uc2")

    @property
    def is_drawn(self) -> bool:
        """A mask, labels, or classes painted in colours: hardly any different values. One grey or colour alone may be the sky."""
        return (self.is_grey or len(self.shades) > 1) and 0 < len(self.shades) <= FEW_SHADES


@dataclass
class InfoEvidence(Evidence):
    """Of a CameraInfo topic."""

    problem: str = ""

    def _look(self, message: Any, stamp: int) -> None:
        try:
            calibration(message, is_rectified(self.topic))
            self.problem = ""
        except UNREADABLE as error:
            self.problem = str(error)


@dataclass
class OdometryEvidence(Evidence):
    """Of a nav_msgs/Odometry topic."""

    child: str = ""
    turned: bool = False  # its heading has changed
    has_twist: bool = False
    spread_m: float = 0.0  # the farthest it has been from where it began
    stretches: int = 0
    ways: deque[NDArray[np.float64]] = field(default_factory=lambda: deque(maxlen=WAYS))  # (3,) of each stretch, in the child frame
    upright: bool = True  # as a vehicle's frame is
    measured: bool = True  # its covariance does not say that it is not
    _start: NDArray[np.float64] | None = None
    _mark: NDArray[np.float64] | None = None
    _heading: tuple[float, ...] | None = None

    def _look(self, message: Any, stamp: int) -> None:
        self.child = str(message.child_frame_id).lstrip("/")
        position, turn = message.pose.pose.position, message.pose.pose.orientation
        place = np.array([position.x, position.y, position.z], np.float64)
        quaternion = (float(turn.x), float(turn.y), float(turn.z), float(turn.w))
        if not np.isfinite([*place, *quaternion]).all():
            raise MalformedMessage("non_finite_pose", "pose is not finite")
        if abs(np.linalg.norm(quaternion) - 1.0) > 0.1:
            raise MalformedMessage("non_finite_pose", f"quaternion {quaternion} is no rotation")
        self._heading = self._heading or quaternion
        since = Rotation.from_quat(quaternion) * Rotation.from_quat(self._heading).inv()
        z, w = since.as_quat()[2:]
        self.turned |= bool(abs(z) > TURNED * np.hypot(z, w))
        self.upright = is_upright(Rotation.from_quat(quaternion).as_matrix())
        self.measured = not float(message.pose.covariance[0]) < 0.0
        twist = message.twist.twist
        told = (twist.linear.x, twist.linear.y, twist.angular.z)
        self.has_twist |= bool(np.isfinite(told).all()) and any(abs(value) > 1e-6 for value in told)
        if self._start is None or self._mark is None:
            self._start = self._mark = place
            return
        self.spread_m = max(self.spread_m, float(np.linalg.norm((place - self._start)[:2])))
        way = place - self._mark
        if np.linalg.norm(way) >= MOVED_M:
            self.stretches += 1
            ahead = Rotation.from_quat(quaternion).inv().apply(way / np.linalg.norm(way))
            self.ways.append(ahead if abs(twist.linear.y) < SIDEWAYS_MPS else np.zeros(3))  # some robots go sideways, and say so
            self._mark = place

    @property
    def period_s(self) -> float:
        """Mean time between messages; 0 until it is known."""
        if self.count < 3 or self.first_ns is None or self.last_ns is None:
            return 0.0
        return abs(self.last_ns - self.first_ns) / NANOSECONDS / (self.count - 1)

    def off_course(self, base_from_child: FloatArray | None = None) -> list[bool]:
        """Of each stretch of way, whether it led where the heading does not point; backwards is ahead, too. Where the mount is known, the
        heading is the vehicle's, not that of the sensor that is the child frame."""
        turn = np.eye(3) if base_from_child is None else base_from_child[:3, :3]
        return [bool(way.any() and abs((turn @ way)[0]) < np.cos(OFF_COURSE)) for way in tuple(self.ways)]

    def has_no_heading(self, base_from_child: FloatArray | None = None) -> bool:
        """One and the same orientation while most of its way, or some of it in one go, led where that does not point; a jump of the poses
        is no way."""
        if self.turned or self.stretches < FEWEST_STRETCHES:
            return False
        off = self.off_course(base_from_child)
        in_one_go = max((len(list(run)) for led_off, run in itertools.groupby(off) if led_off), default=0)
        return 2 * sum(off) > len(off) or in_one_go >= STRETCHES_OFF

    @property
    def enough(self) -> bool:
        return self.count >= ENOUGH_ODOMETRY and (self.turned or self.has_no_heading() or self.stretches >= ENOUGH_STRETCHES)
