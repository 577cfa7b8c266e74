"""Windows of a prepared dataset: some past, the intended motion, and the futures to be predicted, as the model sees them.

The past is encoded in its own anchor frames and warped, as when driving. A future sweep is brought into the anchor frame of now *before*
it is encoded: the target is exact there, not blurred by a warp, and reaches as far as the future sensor saw.
Axes: T history step, S future step, H horizon, K camera, C channel, Y row, X column, Z sampling height.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from jepa_ros.backends.bev import BEV_GRID
from jepa_ros.backends.scene_jepa.config import IMAGE_SIZE
from jepa_ros.backends.scene_jepa.encoder import SceneInput
from jepa_ros.backends.scene_jepa.projection import LIFT_STRIDE, OUTSIDE, SAMPLE_HEIGHTS_M, cell_columns, cell_pixels
from jepa_ros.sensing.voxelize import occupancy_grid, pillars, visible_cells
from jepa_ros.training.world_model.augment import Augmentation, DrawAugmentation, draw_augmentation
from jepa_ros.training.world_model.flow import extrapolate
from jepa_ros.training.world_model.shard import Frame, Shard
from jepa_ros.types import NANOSECONDS, FloatArray

MANY_RINGS = 32
TOLERANCE = 0.25  # of a step: how far a frame may be from the instant that it stands for


@dataclass(frozen=True)
class Window:
    """One training example, or a batch of them (a leading B on every tensor)."""

    history: SceneInput  # T scenes, each in its own anchor frame
    now_from_history: Tensor  # (T, 4, 4)
    actions: Tensor  # (H, 3)
    steps: Tensor  # (S,) which future steps the targets are
    targets: SceneInput  # S scenes, all in the anchor frame of now; in batches without lidar, now as all sensors see it comes first
    occupied: Tensor  # (1 + S, Y, X) uint8: now, then the targets
    visible: Tensor  # (1 + S, Y, X) uint8; all zero where the recording has no such frame
    accumulated: Tensor  # (Y, X) mean occupancy of the history's sweeps in the anchor frame of now, a baseline; (0, 0) in training
    flow: Tensor  # (1 + S, Y, X) uint8: now, then the steps, with everything that moves kept at its velocity, a baseline; empty in training


@dataclass(frozen=True)
class WindowSpec:
    """What a window holds."""

    history: int
    horizon: int
    dt_s: float
    targets: int  # S: how many of the horizon's steps, drawn at random; the horizon itself = all
    cameras: int  # K: image slots
    sensors: tuple[float, float, float] = (0.4, 0.4, 0.2)  # shares of the training batches that see lidar alone, both, camera alone
    baselines: bool = True  # whether windows for evaluation hold those that take long: accumulated sweeps and flow


class Windows(Dataset):
    """Windows by number: item n depends on the seed and n alone, so a resumed training sees what an unbroken one would."""

    def __init__(
        self,
        shards: list[Shard],
        spec: WindowSpec,
        seed: int,
        batch: int,
        fixed: Augmentation | None = None,
        draw: DrawAugmentation = draw_augmentation,
    ) -> None:
        """fixed: the same augmentation for every window, which are then taken in order (evaluation); None = drawn at random (training),
        by `draw`.

        Recordings that begin at the same nanosecond are branches of one world (`jepa_ros.sim.branches`): drawn together with the same
        augmentation, they show what the motion of the ego changes.
        """
        self.shards, self.spec, self.seed, self.batch, self.fixed, self._draw_augmentation = shards, spec, seed, batch, fixed, draw
        self.anchors = [(s, i) for s, shard in enumerate(shards) for i in range(len(shard)) if self._future(shard, i, 1) is not None]
        self._branches: dict[int, list[int]] = defaultdict(list)
        for index, shard in enumerate(shards):
            self._branches[int(shard.stamps_ns[0]) if len(shard) else -1].append(index)
        if not self.anchors:
            raise ValueError(f"no frame of {len(shards)} shards has another one {spec.dt_s} s later; record longer or denser bags")

    def __len__(self) -> int:
        return len(self.anchors)

    def __getitem__(self, number: int) -> Window:
        if self.fixed is None:
            shard_index, now, rng = self._draw(number)
        else:
            (shard_index, now), rng = self.anchors[number], np.random.default_rng((self.seed, number))
        # Steps and sensors are those of the whole batch: the predictor runs once for all steps, a missing camera costs nothing.
        batch_rng = np.random.default_rng((self.seed, number // self.batch, 1))
        steps = self._draw_steps(batch_rng)
        many_rings = self.fixed is None and self.shards[shard_index].rings > MANY_RINGS
        augmentation = self.fixed or self._draw_augmentation(rng, batch_rng, self.spec.sensors, many_rings)
        return self._build(self.shards[shard_index], now, steps, augmentation)

    def _draw(self, number: int) -> tuple[int, int, np.random.Generator]:
        """Shard, frame and generator of a training window. Every second one of a batch is a branch of the one before, if there is one."""
        rng = np.random.default_rng((self.seed, number))
        if number % self.batch % 2:
            shard, now, rng_before = self._draw(number - 1)
            same_past = [other for other in self._branches[int(self.shards[shard].stamps_ns[0])] if self._same_past(shard, other, now)]
            if same_past:
                return int(rng.choice(same_past)), now, rng_before
        shard, now = self.anchors[int(rng.integers(len(self.anchors)))]
        return shard, now, rng

    def _same_past(self, shard: int, other: int, now: int) -> bool:
        """Whether another shard is a different one that does not differ before the next frame."""
        if other == shard or len(self.shards[other]) < now + 2:
            return False
        return bool(np.array_equal(self.shards[shard].poses(now), self.shards[other].poses(now)))

    def _draw_steps(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """One step from each of S equal parts of the horizon, so that every batch has near and far ones."""
        parts = np.array_split(np.arange(self.spec.horizon), self.spec.targets)
        return np.array([rng.choice(part) for part in parts])

    def _future(self, shard: Shard, now: int, steps: int) -> int | None:
        """Index of the frame `steps` model steps after (before: negative) frame `now`; None where there is none near that instant."""
        step_ns = self.spec.dt_s * NANOSECONDS
        wanted_ns = shard.stamps_ns[now] + steps * step_ns
        nearest = int(np.abs(shard.stamps_ns - wanted_ns).argmin())
        return nearest if abs(shard.stamps_ns[nearest] - wanted_ns) <= TOLERANCE * step_ns else None

    def _build(self, shard: Shard, now_index: int, steps: NDArray[np.int64], augmentation: Augmentation) -> Window:
        now = shard[now_index]
        past = [self._future(shard, now_index, -k) for k in reversed(range(1, self.spec.history))]
        known = [index for index in past if index is not None] or [now_index]
        past_frames = [shard[index if index is not None else known[0]] for index in past]
        history = [augmentation.sensors(frame, k, now) for k, frame in enumerate([*past_frames, now])]
        future_indices = [self._future(shard, now_index, int(step) + 1) for step in steps]
        future = [augmentation.sensors(shard[now_index if i is None else i], 100 + k, now) for k, i in enumerate(future_indices)]

        view = FrameView(shard, now, augmentation, self.spec.cameras if augmentation.use_camera else 0)
        use_lidar = augmentation.use_lidar or not shard.cameras
        scenes = [view.scene(frame, frame, use_lidar) for frame in history]
        targets = [view.scene(frame, now, True) for frame in ([] if augmentation.use_lidar else [history[-1]]) + future]
        baselines = self.fixed is not None and self.spec.baselines
        labels = [view.labels(frame) for frame in [history[-1], *future]]
        for label, index in zip(labels[1:], future_indices, strict=True):
            label[1][:] &= index is not None
        return Window(
            history=_stack(scenes),
            now_from_history=torch.from_numpy(np.stack([view.now_from(frame) for frame in history])),
            actions=torch.from_numpy(self._actions(shard, now_index, view)),
            steps=torch.from_numpy(steps),
            targets=_stack(targets),
            occupied=torch.from_numpy(np.stack([label[0] for label in labels])),
            visible=torch.from_numpy(np.stack([label[1] for label in labels])),
            accumulated=view.mean_occupancy(history) if baselines else torch.zeros(0, 0),
            flow=view.flow(history, self.spec.dt_s, np.array([0, *(steps + 1)])) if baselines else torch.zeros(0, 0, 0),
        )

    def _actions(self, shard: Shard, now_index: int, view: FrameView) -> NDArray[np.float32]:
        """(H, 3): what the vehicle did is what it had intended; where the recording ends it stays."""
        actions = np.zeros((self.spec.horizon, 3), np.float32)
        for k in range(self.spec.horizon):
            index = self._future(shard, now_index, k + 1)
            if index is None:
                actions[k] = actions[k - 1] if k else 0
            else:
                pose = view.now_from(shard[index])
                actions[k] = pose[0, 3], pose[1, 3], np.arctan2(pose[1, 0], pose[0, 0])
        return actions


class FrameView:
    """Frames of one window as seen from its (perhaps turned and mirrored) anchor frame."""

    def __init__(self, shard: Shard, now: Frame, augmentation: Augmentation, cameras: int) -> None:
        self._shard, self._now, self._augmentation, self._cameras = shard, now, augmentation, cameras

    def now_from(self, frame: Frame) -> FloatArray:
        """(4, 4) augmented anchor frame of now, from the augmented anchor frame of another frame."""
        turn = self._augmentation.turn
        return turn @ np.linalg.inv(self._now.odom_from_anchor) @ frame.odom_from_anchor @ np.linalg.inv(turn)

    def scene(self, frame: Frame, anchor: Frame, use_lidar: bool) -> SceneInput:
        """What the sensors of `frame` saw, in the augmented anchor frame of `anchor`."""
        anchor_from_frame = self._augmentation.turn @ np.linalg.inv(anchor.odom_from_anchor) @ frame.odom_from_anchor
        ground_m = self._ground_m(frame, anchor_from_frame)
        features = pillars(_moved(frame.points_m, anchor_from_frame), ground_m, BEV_GRID)
        if not use_lidar:
            features = np.zeros_like(features)
        side = BEV_GRID.rows // LIFT_STRIDE
        images = np.zeros((self._cameras, 3, *IMAGE_SIZE), np.float32)
        pixels = np.full((self._cameras, len(SAMPLE_HEIGHTS_M), side, side, 2), OUTSIDE, np.float32)
        columns = np.full((0 if use_lidar else self._cameras, BEV_GRID.rows, BEV_GRID.columns, 3), OUTSIDE, np.float32)
        for slot, model in enumerate(self._shard.cameras[: self._cameras]):
            camera_from_frame = frame.camera_from_anchor[slot]
            if np.isfinite(camera_from_frame).all():
                seen_from = (BEV_GRID, ground_m, camera_from_frame @ np.linalg.inv(anchor_from_frame), model)
                images[slot] = frame.images[slot].transpose(2, 0, 1) / 255
                pixels[slot] = cell_pixels(*seen_from)
                if not use_lidar:
                    columns[slot] = cell_columns(*seen_from)
        return SceneInput(torch.from_numpy(features), torch.tensor(float(use_lidar)), *map(torch.from_numpy, (images, pixels, columns)))

    def labels(self, frame: Frame) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(occupied, visible) cells of a sweep in the augmented anchor frame of now."""
        now_from_frame = self.now_from(frame) @ self._augmentation.turn
        points = _moved(frame.points_m, now_from_frame)
        ground_m = self._ground_m(frame, now_from_frame)
        origin = _moved(frame.lidar_origin_m[None], now_from_frame)[0]
        occupied = occupancy_grid(points, ground_m, BEV_GRID)
        visible = visible_cells(points, ground_m, BEV_GRID, (float(origin[0]), float(origin[1])))
        return occupied.astype(np.uint8), visible.astype(np.uint8)

    def mean_occupancy(self, frames: list[Frame]) -> Tensor:
        """(Y, X) share of the sweeps that found each cell occupied."""
        return torch.from_numpy(np.mean([self.labels(frame)[0] for frame in frames], axis=0, dtype=np.float32))

    def flow(self, frames: list[Frame], dt_s: float, steps: NDArray[np.int64]) -> Tensor:
        """(len(steps), Y, X) occupancy so many steps after the newest frame if everything keeps its velocity."""
        sweeps = [_moved(frame.points_m, self.now_from(frame) @ self._augmentation.turn) for frame in frames]
        ground_m = self._ground_m(frames[-1], self._augmentation.turn)
        return torch.from_numpy(extrapolate(sweeps, ground_m, dt_s, dt_s * steps, BEV_GRID))

    def _ground_m(self, frame: Frame, target_from_frame: FloatArray) -> float:
        return frame.ground_height_m + float(target_from_frame[2, 3]) + self._augmentation.ground_error_m


def model_steps(shard: Shard, dt_s: float) -> list[int]:
    """Frames of a shard that are a model step apart, as far as it is dense enough for that."""
    chosen: list[int] = []
    for index, stamp_ns in enumerate(shard.stamps_ns):
        if not chosen or stamp_ns - shard.stamps_ns[chosen[-1]] >= (1 - TOLERANCE / 2) * dt_s * NANOSECONDS:
            chosen.append(index)
    return chosen


def _moved(points_m: FloatArray, target_from_source: FloatArray) -> NDArray[np.float32]:
    # Column by column in float32: ten times as fast as a product with a 3 x 3 matrix, and exact enough around the vehicle.
    matrix = target_from_source.astype(np.float32)
    x, y, z = points_m.T
    return np.stack([matrix[i, 0] * x + matrix[i, 1] * y + matrix[i, 2] * z + matrix[i, 3] for i in range(3)], axis=1)


def _stack(scenes: list[SceneInput]) -> SceneInput:
    return SceneInput(*(torch.stack([getattr(scene, name) for scene in scenes]) for name in SceneInput.__dataclass_fields__))


def collate(windows: list[Window]) -> Window:
    """Windows -> a batch: every tensor gets a leading B; `steps` is shared and does not."""
    fields: dict[str, Any] = {}
    for name in Window.__dataclass_fields__:
        values = [getattr(window, name) for window in windows]
        fields[name] = values[0] if name == "steps" else _stack(values) if isinstance(values[0], SceneInput) else torch.stack(values)
    return Window(**fields)
