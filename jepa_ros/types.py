"""The values that cross borders between stages. Frozen; numpy only; every field states shape, unit and frame.

Frames (REP-105): `odom` is fixed and drifts slowly; `base` is base_link; `anchor` is the base frame at one stamp with roll and pitch
removed and its origin kept: x forward, y left, z up along gravity. Poses are 4 x 4 homogeneous matrices named `target_from_source`,
so that `p_target = target_from_source @ p_source`. Time is int nanoseconds where a stamp must survive unchanged, float seconds elsewhere.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jepa_ros.lazy import Lazy
from jepa_ros.levelling import gravity_aligned, levelled
from jepa_ros.movers import BoxForecast, ImageBoxes, SeenObjects, TrackedVehicles, VehicleDetections

FloatArray = NDArray[np.floating]
OCCUPIED_FROM = 0.5  # probability from which a cell is called occupied, where nobody has set another
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class CameraModel:
    """Pinhole intrinsics with distortion, as sensor_msgs/CameraInfo gives them (pixels refer to the raw image)."""

    width: int
    height: int
    intrinsics: FloatArray  # (3, 3) K in pixels
    distortion: FloatArray  # (n,) coefficients in the order of the distortion model; empty = none
    distortion_model: str = "plumb_bob"  # plumb_bob | rational_polynomial | equidistant


@dataclass(frozen=True)
class CameraImage:
    """One decoded image and where it was taken from."""

    stamp_ns: int
    name: str  # the topic or camera name it came from
    rgb: NDArray[np.uint8]  # (height, width, 3)
    model: CameraModel
    base_from_camera: FloatArray  # (4, 4); camera = optical frame: z forward, x right, y down


@dataclass(frozen=True)
class LidarPart:
    """Which points of a merged sweep came from one of the lidars."""

    name: str  # its topic
    first: int  # index of its first point
    count: int
    base_from_lidar: FloatArray  # (4, 4) where it was measured from, in the base frame at the stamp of the merged sweep


@dataclass(frozen=True)
class LidarSweep:
    """One sweep in the base frame, non-finite points already dropped; where there are several lidars, those of all of them.

    The lidar that is mounted highest leads: the stamp and `base_from_lidar` are its, and its points come first.
    """

    stamp_ns: int
    points_m: NDArray[np.float32]  # (N, 3) base frame
    intensity: NDArray[np.float32] | None  # (N,) sensor units, None where the sensor has none
    ring: NDArray[np.int32] | None  # (N,)
    time_offset_s: NDArray[np.float32] | None  # (N,) relative to the stamp
    base_from_lidar: FloatArray  # (4, 4)
    dropped: int = 0  # non-finite points that were dropped
    parts: tuple[LidarPart, ...] = ()  # of several lidars, the leading one first; empty = there is one


@dataclass(frozen=True)
class EgoState:
    """Pose and twist of the vehicle at one stamp."""

    stamp_ns: int
    odom_from_base: FloatArray  # (4, 4)
    velocity_mps: FloatArray  # (2,) x forward, y left, base frame
    yaw_rate_radps: float = 0.0


@dataclass(frozen=True)
class Observation:
    """Everything seen at one instant. `lidar` may be None (camera only) and `cameras` may be empty (lidar only), not both."""

    stamp_ns: int  # the newest sensor sample used
    ego: EgoState  # interpolated to `stamp_ns`
    lidar: LidarSweep | None = None
    cameras: tuple[CameraImage, ...] = ()
    ground_height_m: float = 0.0  # z of the ground around the vehicle in the anchor frame, estimated by sensing (SensorHub)
    ground_seen: bool = True  # False: no sweep has shown the ground yet, and `ground_height_m` is an assumption
    # (N,) z of the local ground below each return of the sweep, in the anchor frame; None = level, at `ground_height_m`.
    local_ground_m: NDArray[np.float32] | None = None
    detected: tuple[ImageBoxes | SeenObjects, ...] = ()  # detections of other nodes that came since the last observation

    def __post_init__(self) -> None:
        if self.lidar is None and not self.cameras:
            raise ValueError("an Observation needs a lidar sweep or at least one camera image; got neither")

    @property
    def stamp_s(self) -> float:
        return self.stamp_ns / NANOSECONDS

    @property
    def odom_from_anchor(self) -> FloatArray:
        """(4, 4) the gravity-aligned base frame at this stamp, in odom."""
        return gravity_aligned(self.ego.odom_from_base)

    @cached_property
    def levelled_m(self) -> NDArray[np.float32]:
        """(N, 3) points of the sweep in the anchor frame, for reading only; (0, 3) without lidar. Worked out once, however many ask."""
        return np.empty((0, 3), np.float32) if self.lidar is None else levelled(self.lidar.points_m, self.ego.odom_from_base)

    @cached_property
    def flattened_m(self) -> NDArray[np.float32]:
        """(N, 3) the same with the slopes of the ground taken out: as high above `ground_height_m` as above the local ground."""
        if self.local_ground_m is None:
            return self.levelled_m
        x, y, z = self.levelled_m.T
        return np.stack((x, y, z - self.local_ground_m + np.float32(self.ground_height_m))).T


@dataclass(frozen=True)
class GridSpec:
    """A square-celled grid in the anchor frame; index [row, column] = [y, x]."""

    rows: int  # Y
    columns: int  # X
    resolution_m: float
    origin_m: tuple[float, float]  # x, y of the outer corner of cell [0, 0]


@dataclass(frozen=True)
class OccupancyForecast:
    """Probability that a lidar return 0.3-2.0 m above the ground falls in a cell, now and at each future step. Anchor frame."""

    probability: NDArray[np.float32]  # (H + 1, Y, X) in [0, 1]; step 0 = now
    times_s: FloatArray  # (H + 1,) relative to the anchor's stamp
    resolution_m: float
    origin_m: tuple[float, float]  # x, y of cell [0, 0]'s outer corner in the anchor frame
    seen: NDArray[np.bool_] | None = None  # (Y, X) False where no sensor has looked recently; None = nothing is unseen
    from_latents: NDArray[np.float32] | None = None  # `probability` of what stands, without those who move; None = nobody does

    @property
    def grid(self) -> GridSpec:
        return GridSpec(self.probability.shape[1], self.probability.shape[2], self.resolution_m, self.origin_m)


@dataclass(frozen=True)
class Tracks:
    """Recent positions of people, in any one fixed frame."""

    positions_m: FloatArray  # (P, T, 2) oldest first, the last column = now
    valid: NDArray[np.bool_]  # (P, T) False where the person was not seen
    dt_s: float

    def __post_init__(self) -> None:
        if self.positions_m.ndim != 3 or self.positions_m.shape[-1] != 2:
            raise ValueError(f"Tracks.positions_m must be (P, T, 2), got {self.positions_m.shape}")
        if self.valid.shape != self.positions_m.shape[:2]:
            raise ValueError(f"Tracks.valid must be {self.positions_m.shape[:2]} like positions_m, got {self.valid.shape}")
        if not self.dt_s > 0:
            raise ValueError(f"Tracks.dt_s must be > 0 s, got {self.dt_s}")


class Sight(Protocol):
    """What one sweep showed to be free."""

    def placed(self, pose: FloatArray) -> Sight:
        """The same in the frame into which `pose` (4, 4) leads."""

    def free(self, places_m: FloatArray) -> FloatArray:
        """(P,) of places (P, 2): 1 where it was free, -1 where something was, 0 where it was hidden or not looked at."""


@dataclass(frozen=True)
class Detections:
    """People seen in one sweep, in the frame of the points, in no particular order."""

    positions_m: FloatArray  # (M, 2) centre of the body
    radii_m: FloatArray  # (M,) of the footprint
    scores: FloatArray  # (M,) 0-1: how much the column looks like a person
    heights_m: FloatArray  # (M,) top above the local ground
    ground_m: FloatArray  # (M,) height of the local ground in the frame of the points
    riding: FloatArray | None = None  # (M,) 0-1: that this is a rider, given that it is a person; None = the detector cannot tell
    sight: Sight | None = None  # what was free and what was not, in the frame of the points; None = the detector does not say
    vehicles: VehicleDetections | None = None  # None = the detector does not look for them
    camera: FloatArray | None = None  # (M,) log-odds that a camera adds for a person; NaN = none looked; None = there is no vote


@dataclass(frozen=True)
class TrackedPeople:
    """What the tracker believes at one stamp, in odom. Row i here is row i of the forecast made from `history`."""

    ids: NDArray[np.int64]  # (P,) stable over time, never used again
    positions_m: FloatArray  # (P, 2)
    velocities_mps: FloatArray  # (P, 2)
    existence: FloatArray  # (P,) probability that there is a person
    radii_m: FloatArray  # (P,) radius of the footprint
    history: Tracks
    riding: FloatArray | None = None  # (P,) probability that this is a cyclist; None = not told apart

    @property
    def cyclists(self) -> NDArray[np.bool_]:
        """(P,) True for those who are more likely cyclists than pedestrians; all False if the tracker does not distinguish them."""
        return np.zeros(len(self.ids), bool) if self.riding is None else self.riding > 0.5


@dataclass(frozen=True)
class PedestrianForecast:
    """A Gaussian mixture per person over the future path, in the frame of the tracks it was made from."""

    modes_m: FloatArray  # (P, K, H, 2) means
    probabilities: FloatArray  # (P, K), sums to 1 over K
    covariances_m2: FloatArray  # (P, K, H, 2, 2)
    times_s: FloatArray  # (H,) from now

    def most_likely(self) -> FloatArray:
        """(P, H, 2): for each person the single best path: the mode of the highest probability."""
        best = self.probabilities.argmax(axis=1)
        return self.modes_m[np.arange(len(best)), best]

    def sample(self, n: int, seed: int) -> FloatArray:
        """(P, n, H, 2): n independent samples of the mixture, each a whole path.

        A mode is drawn by its probability; the deviation from its mean is one standard normal per sample, shared by all steps and scaled by
        each step's covariance, so that a sample is a smooth path whose marginals are exactly the Gaussians of the forecast.
        """
        if n < 1:
            raise ValueError(f"sample(n) needs n >= 1, got {n}")
        generator = np.random.default_rng(seed)
        people, modes = self.probabilities.shape
        cumulative = np.cumsum(self.probabilities, axis=1)
        draw = generator.random((people, n, 1)) * cumulative[:, None, -1:]
        chosen = np.minimum((draw > cumulative[:, None, :]).sum(axis=-1), modes - 1)  # (P, n)
        row = np.arange(people)[:, None]
        factor = np.linalg.cholesky(self.covariances_m2)[row, chosen]  # (P, n, H, 2, 2)
        noise = generator.standard_normal((people, n, 1, 2, 1))
        return self.modes_m[row, chosen] + (factor @ noise)[..., 0]


@dataclass(frozen=True, kw_only=True)
class SceneState:
    """What the pipeline knows after one observation. Latents and occupancy: anchor frame. People: odom."""

    stamp_ns: int
    anchor_pose: FloatArray  # (4, 4) odom_from_anchor
    ego: EgoState
    latent: FloatArray  # (N, D)
    predicted: Lazy[FloatArray] = Lazy()  # noqa: RUF009 - a descriptor; (H, N, D); may be given as a function that makes it
    occupancy: OccupancyForecast
    people: TrackedPeople
    pedestrians: PedestrianForecast
    surprise: float  # 0-1, NaN until the first prediction comes due
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    sensors: tuple[str, ...] = ()  # which of "lidar", "camera" this step used
    vehicles: TrackedVehicles = field(default_factory=TrackedVehicles)
    vehicle_forecast: BoxForecast = field(default_factory=BoxForecast)

    @property
    def stamp_s(self) -> float:
        return self.stamp_ns / NANOSECONDS


class PlanStatus(enum.IntEnum):
    """Why a plan is, or is not, to be followed. The numbers are those of the service definitions."""

    OK = 0
    NO_SAFE_PATH = 1
    STALE_SENSORS = 2
    NOT_ACTIVE = 3
    TIMEOUT = 4
    INVALID_GOAL = 5
    INVALID_REQUEST = 6
    UNSUPPORTED = 7
    INTERNAL_ERROR = 8
    UNSEEN = 9
    UNKNOWN_FRAME = 10


@dataclass(frozen=True)
class Plan:
    """A path with the commands that drive it, in odom."""

    status: PlanStatus
    message: str
    path: FloatArray  # (L + 1, 3) x m, y m, yaw rad; row 0 = now; empty (0, 3) where there is none
    commands: FloatArray  # (L, 2) forward speed m/s, yaw rate rad/s; holonomic robots (L, 3) with the speed to the left between them
    dt_s: float
    cost: float
    collision_probability: float  # of the whole plan, 0-1
    planning_time_s: float
    fallback: bool = False  # True: a braking trajectory, not a way to the goal
    reaches_goal: bool = False  # the last pose of the path is the goal, within the tolerances of the request
    distance_to_goal_m: float = float("nan")  # from the last pose of the path, straight; NaN without a path
