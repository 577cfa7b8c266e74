"""Where vehicles and cyclists are in 2.4 s, by every forecaster: `python -m experiments.vehicles.forecasts`.

--worlds 6                 simulated traffic that nothing learned from: as in training, faster and denser, by drivers who follow their lanes
--kitti CSV --av2 CSV.GZ   labelled recordings, boxes with a detector's noise, tracked: measured only, nothing learned from them

Prints one JSON line for each kind of traffic: of each class who drives now, mean error (m) of each forecaster's likeliest way.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jepa_ros.forecast.constant_turn_rate import ConstantTurnRate, ConstantTurnRateConfig
from jepa_ros.forecast.constant_velocity import ConstantVelocityConfig, fit_velocity
from jepa_ros.forecast.loading import load_forecaster, load_traffic_forecaster
from jepa_ros.forecast.traffic.learned import LearnedTraffic
from jepa_ros.forecast.traffic.road_users import VEHICLE, RoadUsers
from jepa_ros.movers import BoxForecast
from jepa_ros.objects.time_steps import STEP_S
from jepa_ros.protocols import TrafficForecaster
from jepa_ros.training.traffic.examples import future_of, matched
from jepa_ros.training.traffic.streams import Moment, Seen, World, watch
from jepa_ros.types import FloatArray, Tracks

AHEAD_S, DRIVES_MPS, EVERY_S = 2.4, 1.0, 0.4
STEP = round(AHEAD_S / STEP_S) - 1
TRAFFIC: dict[str, dict[str, Any]] = {  # what the worlds of each kind have in common
    "as in training": {},
    "faster and denser": {"faster": 1.5, "density": 3.5},
    "drivers who only follow their lanes": {"lively": False, "bend_per_m": 0.0},
}
KITTI = {"car": {"Car", "Van", "Truck", "Bus", "Tram"}, "cyclist": {"Cyclist"}, "person": {"Pedestrian", "Person_sitting"}}
AV2 = {
    "car": {"REGULAR_VEHICLE", "LARGE_VEHICLE", "BUS", "BOX_TRUCK", "TRUCK", "VEHICULAR_TRAILER", "SCHOOL_BUS", "ARTICULATED_BUS"},
    "cyclist": {"BICYCLIST", "MOTORCYCLIST"},
    "person": {"PEDESTRIAN"},
}


def kinematic_bicycle() -> ConstantTurnRate:
    """Constant steering and acceleration, neither of which fades."""
    return ConstantTurnRate(ConstantTurnRateConfig(turning_s=60.0, accelerating_s=60.0, braking_share=0.0))


class Methods:
    """Each says where all tracks of a class are in AHEAD_S: (N, 2)."""

    def __init__(self, learned: LearnedTraffic) -> None:
        self.learned, self._people = learned, load_forecaster()

    def vehicles(self, moment: Moment, users: RoadUsers, rows: np.ndarray) -> dict[str, FloatArray]:
        told = moment.vehicles
        boxes: dict[str, TrafficForecaster] = {
            "kinematic bicycle": kinematic_bicycle(),
            "constant turn rate, fading": ConstantTurnRate(),
            "learned": self.learned,
        }
        found = {name: _likeliest(one.predict(told, moment.people, moment.ego))[rows] for name, one in boxes.items()}
        return {"constant velocity": _straight(users, rows), "constant velocity, fitted": _fitted(users, rows)} | found

    def cyclists(self, moment: Moment, users: RoadUsers, rows: np.ndarray) -> dict[str, FloatArray]:
        people = self._people.predict(moment.people.history)
        walked = people.most_likely()[rows - len(moment.vehicles), STEP]
        _, own = self.learned.predict_with_cyclists(moment.vehicles, moment.people, people, moment.ego)
        ridden = own.most_likely()[rows - len(moment.vehicles), STEP]
        straight = {"constant velocity": _straight(users, rows), "constant velocity, fitted": _fitted(users, rows)}
        return straight | {"as pedestrians": walked, "learned": ridden}


def _likeliest(forecast: BoxForecast) -> FloatArray:
    return forecast.poses[np.arange(len(forecast.poses)), forecast.probabilities.argmax(axis=1), STEP, :2]


def _straight(users: RoadUsers, rows: np.ndarray) -> FloatArray:
    yaw, way = users.poses[rows, 2], AHEAD_S * users.speeds_mps[rows]
    return users.poses[rows, :2] + way[:, None] * np.stack((np.cos(yaw), np.sin(yaw)), axis=1)


def _fitted(users: RoadUsers, rows: np.ndarray) -> FloatArray:
    """Along a line through the past, as the baseline of pedestrians has it."""
    past = users.past_m[rows]
    valid = np.isfinite(past[..., 0])
    tracks = Tracks(np.where(valid[..., None], past, 0.0), valid, STEP_S)
    position, velocity, _ = fit_velocity(tracks, ConstantVelocityConfig())
    several = valid.sum(axis=1) >= 3
    return np.where(several[:, None], position + AHEAD_S * velocity, _straight(users, rows))


def errors(stream: Iterable[Moment], methods: Methods) -> dict[str, dict[str, list[float]]]:
    """Distances from the truth, m, by class and method."""
    moments = list(stream)
    found: dict[str, dict[str, list[float]]] = {"vehicle": defaultdict(list), "cyclist": defaultdict(list)}
    every = max(1, round(EVERY_S / (moments[1].time_s - moments[0].time_s)))
    for now in range(every, len(moments), every):
        moment = moments[now]
        users = RoadUsers.of(moment.vehicles, moment.people, moment.ego)
        tracks, truths = matched(moment, users)
        truth = future_of(moments, now)[1][truths, STEP]
        drives = np.isfinite(truth[:, 0]) & (np.abs(users.speeds_mps[tracks]) > DRIVES_MPS)
        for name, vehicle, ask in (("vehicle", True, methods.vehicles), ("cyclist", False, methods.cyclists)):
            own = drives & ((users.kinds[tracks] == VEHICLE) == vehicle)
            if own.any():
                for method, places in ask(moment, users, tracks[own]).items():
                    found[name][method] += np.linalg.norm(places - truth[own], axis=1).tolist()
    return found


def table(found: list[dict[str, dict[str, list[float]]]]) -> dict[str, object]:
    """Mean error of each method, and of the learned one as a share of constant velocity's."""
    told: dict[str, object] = {}
    for name in ("vehicle", "cyclist"):
        methods: dict[str, list[float]] = defaultdict(list)
        for one in found:
            for method, values in one.get(name, {}).items():
                methods[method] += values
        if methods.get("learned"):
            means = {method: round(float(np.mean(values)), 3) for method, values in methods.items()}
            told[name] = {"forecasts": len(methods["learned"])} | means | {"share": round(means["learned"] / means["constant velocity"], 3)}
    return told


def labelled(path: Path, noise: float) -> Iterator[Moment]:
    """A table of labelled boxes (KITTI's as in `make bench-people`, Argoverse 2's in a city frame) as trackers would see them."""
    content = path.read_bytes()
    lines = (gzip.decompress(content) if path.suffix == ".gz" else content).decode().splitlines()
    rows = [_row(row) for row in csv.DictReader(lines)]
    rows = [row for row in rows if row[2]]
    first = rows[0][0]
    middle = np.mean([row[3][:2] for row in rows], axis=0)
    sweeps: dict[int, list] = defaultdict(list)
    numbers: dict[str, int] = {}
    for stamp, track, kind, box in rows:
        sweeps[stamp].append((numbers.setdefault(track, len(numbers)), kind, box - np.array([*middle, 0.0, 0.0, 0.0])))
    seen = Seen(np.random.default_rng(0), noise)
    for stamp in sorted(sweeps):
        ids, kinds, boxes = (np.array(part) for part in zip(*sweeps[stamp], strict=True))
        yield seen.look((stamp - first) / 1e9, boxes, kinds, ids, None)


def _row(row: dict[str, str]) -> tuple[int, str, str, FloatArray]:
    """Stamp in ns, track, kind ("" = none of ours) and box."""
    if "odom_x" in row:
        kinds, name, stamp, track, frame = KITTI, row["class"], row["stamp_ns"], row["track_id"], "odom"
    else:
        kinds, name, stamp, track, frame = AV2, row["category"], row["timestamp_ns"], row["track_uuid"], "city"
    kind = next((kind for kind, names in kinds.items() if name in names), "")
    keys = (f"{frame}_x", f"{frame}_y", f"{frame}_yaw", "length", "width")
    return int(stamp), track, kind, np.array([float(row[key]) for key in keys])


def main() -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=0, help="of each kind of traffic")
    parser.add_argument("--first-seed", type=int, default=62000)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--kitti", type=Path, nargs="*", default=[], help="gt_tracks.csv")
    parser.add_argument("--av2", type=Path, nargs="*", default=[], help="tables of tracks in a city frame")
    parser.add_argument(
        "--noise", type=float, default=0.5, help="times the noise of a detector, added to labels, which are not exact themselves"
    )
    parser.add_argument("--forecaster", default="", help="learned weights; empty = the shipped ones")
    args = parser.parse_args()
    learned = load_traffic_forecaster(args.forecaster)
    if not isinstance(learned, LearnedTraffic):
        parser.error("--forecaster: give a .safetensors file")
    methods = Methods(learned)
    for title, common in TRAFFIC.items() if args.worlds else ():
        worlds = [replace(World.drawn(args.first_seed + n, args.seconds), **common) for n in range(args.worlds)]
        print(json.dumps({"traffic": title} | table([errors(watch(world), methods) for world in worlds])), flush=True)
    for path in (*args.kitti, *args.av2):
        print(json.dumps({"recording": path.parent.name} | table([errors(labelled(path, args.noise), methods)])), flush=True)


if __name__ == "__main__":
    main()
