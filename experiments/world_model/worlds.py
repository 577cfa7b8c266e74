"""Held-out simulated worlds: bags written once into a folder, and who was where in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore
from tqdm import tqdm

from jepa_ros.backends.bev import BEV_GRID
from jepa_ros.sensing import read_raw
from jepa_ros.types import NANOSECONDS, FloatArray

FIRST_SEED = 20_000  # training uses seeds below 10,000, validation those from there on
SCENARIO_COUNT = 4  # seeds take the scenarios in turn
TRUTH_TOPIC = "/ground_truth/markers"


def scenario_of(seed: int) -> str:
    """Which kind of place a held-out seed is."""
    from jepa_ros.sim.places.worlds import SCENARIOS

    return list(SCENARIOS)[seed % SCENARIO_COUNT]


RECORDED = {"rate_hz": 2.5, "camera_size": (256, 96)}  # frames a model step apart: what windows are made of
STREAMED = {"rate_hz": 5.0, "cameras": 0, "duration_s": 12.0}  # for the whole pipeline, which needs a lidar's rate


def simulated_bags(folder: Path, count: int, first_seed: int = FIRST_SEED, recorded: Mapping[str, Any] = RECORDED) -> list[Path]:
    """`count` bags of 20 s below `folder`; those that are there are kept. Empty, and said so, where MuJoCo is not installed.

    recorded: fields of `BagSpec`.
    """
    try:
        from jepa_ros.sim.bag import BagSpec, write_bag
    except ModuleNotFoundError as error:
        print(f"simulated worlds: skipped, {error.name} is not installed (pip install 'jepa_ros[sim]')")
        return []
    bags = []
    for seed in tqdm(range(first_seed, first_seed + count), desc="simulate", unit="bag"):
        spec = BagSpec(seed=seed, scenario=scenario_of(seed), **recorded)
        bag = folder / f"{spec.scenario}_{seed}"
        bags.append(bag if bag.is_dir() else write_bag(bag, spec))
    return bags


@dataclass(frozen=True)
class Boxes:
    """Everything that can move, at one stamp, in the odom frame."""

    keys: tuple[tuple[str, int], ...]  # G times (kind, id), the same for as long as a thing is there
    centres_m: FloatArray  # (G, 2)
    yaws_rad: FloatArray  # (G,)
    sizes_m: FloatArray  # (G, 2) length, width

    def cells(self, anchor_from_odom: FloatArray, margin_m: float = 0.5 * BEV_GRID.resolution_m) -> NDArray[np.bool_]:
        """(G, Y, X) the cells of BEV_GRID whose centre lies in each box, or nearer to it than the margin."""
        turn = np.arctan2(anchor_from_odom[1, 0], anchor_from_odom[0, 0])
        centres = self.centres_m @ anchor_from_odom[:2, :2].T + anchor_from_odom[:2, 3]
        at = BEV_GRID.origin_m[0] + (np.arange(BEV_GRID.rows) + 0.5) * BEV_GRID.resolution_m
        dx, dy = at[None, None, :] - centres[:, 0, None, None], at[None, :, None] - centres[:, 1, None, None]
        cos, sin = np.cos(self.yaws_rad + turn)[:, None, None], np.sin(self.yaws_rad + turn)[:, None, None]
        along, across = np.abs(dx * cos + dy * sin), np.abs(dy * cos - dx * sin)
        half = 0.5 * self.sizes_m[:, :, None, None] + margin_m
        return (along <= half[:, 0]) & (across <= half[:, 1])


def boxes_by_stamp(bag: Path) -> dict[int, Boxes]:
    """Stamp, ns -> what the simulator's markers say. Empty where the bag has none."""
    store = get_typestore(Stores.ROS2_KILTED)
    found = {}
    for message in read_raw(bag, [TRUTH_TOPIC]):
        markers: list[Any] = store.deserialize_cdr(message.data, message.type_name).markers  # type: ignore[attr-defined]
        if markers:
            stamp = markers[0].header.stamp
            found[stamp.sec * NANOSECONDS + stamp.nanosec] = _boxes(markers)
    return found


def _boxes(markers: list[Any]) -> Boxes:
    poses = [marker.pose for marker in markers]
    return Boxes(
        keys=tuple((marker.ns, marker.id) for marker in markers),
        centres_m=np.array([(pose.position.x, pose.position.y) for pose in poses]).reshape(-1, 2),
        yaws_rad=np.array([2 * np.arctan2(pose.orientation.z, pose.orientation.w) for pose in poses]),
        sizes_m=np.array([(marker.scale.x, marker.scale.y) for marker in markers]).reshape(-1, 2),
    )
