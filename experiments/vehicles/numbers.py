"""What the hand-set numbers that find and follow vehicles are worth: `python -m experiments.vehicles.numbers --bag BAG --ground-truth CSV`.

A labelled bag and simulated streets are judged as they are, then with one number after another at 0.7 and 1.4 times its value. Detections
are kept where only the tracker changes. Finished rows are kept in OUT/rows.jsonl: a run that is broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from experiments.numbers import Figures, Number, changed, measure, numbers_of, report
from experiments.vehicles.judge import FIELD_M, Tally, in_field
from experiments.vehicles.report import CAMERA_HALF_ANGLE_DEG, ENOUGH_RETURNS, PEOPLE, VEHICLES, boxes_of
from experiments.vehicles.worlds import drive
from jepa_ros.forecast.constant_turn_rate import ConstantTurnRate
from jepa_ros.movers import VehicleDetections
from jepa_ros.objects.detection import DetectionConfig, PersonDetector
from jepa_ros.objects.tracking import PeopleTracker
from jepa_ros.objects.vehicles import tracking
from jepa_ros.objects.vehicles.boxes import moved, within
from jepa_ros.objects.vehicles.people_filter import outside
from jepa_ros.objects.vehicles.tracking import VehicleTracker, VehicleTrackingConfig
from jepa_ros.sensing import open_bag
from jepa_ros.types import Detections, FloatArray, Observation

DETECTOR = "jepa_ros.objects.vehicles.proposals"
RULES = (
    DETECTOR,
    "jepa_ros.objects.vehicles.motion",
    tracking.__name__,
    "jepa_ros.objects.vehicles.people_filter",
    "jepa_ros.forecast.constant_turn_rate",
)
CONFIG = f"{tracking.__name__}.VehicleTrackingConfig"
# Columns of arrays, ids, memory; the last two are read when `grown` is defined.
COLUMNS = {"X", "Y", "YAW", "SPEED", "ACCELERATION", "YAW_RATE", "FIRST_ID", "UNKNOWN_FAR", "max_tracks", "CAR_M", "CAR_WIDE_M"}
LIMITS = {
    "recall": 0.02,
    "precision": 0.02,
    "speed error m/s": 0.05,
    "error at 2.4 s m": 0.1,
    "people found": 0.02,
    "wrong people a frame": 0.1,
}
AHEAD_STEPS, AHEAD_S = 5, 2.4  # row of the forecast, and when that is
SAME_M = 3.0


@dataclass(frozen=True)
class Instant:
    """One sweep with what is true, in its anchor frame."""

    observation: Observation
    labels: FloatArray  # (G, 5) vehicles
    wanted: np.ndarray  # (G,) bool: a miss where it is not found
    velocities_mps: FloatArray | None  # (G, 2) in odom, where they are known
    ids: list[int]
    people_m: FloatArray | None  # (N, 2), where people are labelled
    half_angle_deg: float


Detected = list[Detections]


def from_bag(bag: Path, truth: Path, sweeps: int) -> list[Instant]:
    """The first sweeps of a bag with labelled tracks."""
    rows: dict[int, list[dict[str, str]]] = {}
    with truth.open(newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(int(row["stamp_ns"]), []).append(row)
    found = []
    for observation in open_bag(bag):
        inverse, here = np.linalg.inv(observation.odom_from_anchor), rows.get(observation.stamp_ns, [])
        cars = [row for row in here if row["class"] in VEHICLES]
        labels = moved(boxes_of(cars), inverse)
        bodies = moved(boxes_of([row for row in here if row["class"] in PEOPLE]), inverse)[:, :2]
        bodies = bodies[np.hypot(*bodies.T) < FIELD_M[1]]
        ids = [int(row["track_id"]) for row in cars] if cars and "track_id" in cars[0] else []
        found.append(Instant(observation, labels, in_field(labels), None, ids, bodies, CAMERA_HALF_ANGLE_DEG))
        if len(found) == sweeps:
            break
    return found


def from_world(scenario: str, seed: int, seconds: float, speed_mps: float) -> list[Instant]:
    """A simulated street."""
    found = []
    for observation, agents in drive(scenario, seed, seconds, speed_mps, 32, 900):
        inverse = np.linalg.inv(observation.odom_from_anchor)
        cars = [(number, agent) for number, agent in enumerate(agents) if agent.kind == "car"]
        labels = moved(np.array([[*car.position_m[:2], car.yaw_rad, *car.size_m[:2]] for _, car in cars]).reshape(-1, 5), inverse)
        height = observation.flattened_m[:, 2] - observation.ground_height_m
        counts = within(labels, observation.flattened_m[height > 0.3][:, :2].astype(float)).sum(axis=1)
        velocities = np.array([car.velocity_mps for _, car in cars]).reshape(-1, 2)
        wanted = in_field(labels) & (counts >= ENOUGH_RETURNS)
        found.append(Instant(observation, labels, wanted, velocities, [number for number, _ in cars], None, 180.0))
    return found


class Judge:
    """Detects once, tracks as often as asked."""

    def __init__(self, recordings: list[list[Instant]], verifier: str = "") -> None:
        self.recordings = recordings
        self.config = VehicleTrackingConfig()
        self._detector = PersonDetector(DetectionConfig(vehicle_verifier=verifier))
        self._detected = self._detect()

    def _detect(self) -> list[Detected]:
        return [[self._detector.detect_in(instant.observation) for instant in recording] for recording in self.recordings]

    @contextmanager
    def change(self, number: Number, value: float) -> Iterator[None]:
        """With another value of a number at the top of a module, or of a parameter of the tracker."""
        if number.module != CONFIG:
            with changed(number, value):
                yield
            return
        before, self.config = self.config, replace(self.config, **{number.name: value})  # type: ignore[arg-type]  # whichever it is
        try:
            yield
        finally:
            self.config = before

    def __call__(self, number: Number | None) -> Figures:
        """Figures with the numbers as they are now; `number` is the one that has been changed."""
        detected = self._detect() if number is not None and number.module == DETECTOR else self._detected
        tally, ahead = Tally(), []
        people = found = wrong = frames = 0
        for recording, seen in zip(self.recordings, detected, strict=True):
            vehicles, walkers = VehicleTracker(self.config), PeopleTracker()
            said: dict[int, list[tuple[int, FloatArray]]] = {}  # stamp for which -> (true id, place)
            for instant, sweep in zip(recording, seen, strict=True):
                pose, stamp_ns = instant.observation.odom_from_anchor, instant.observation.stamp_ns
                tracked = vehicles.follow(stamp_ns, sweep.vehicles or VehicleDetections(), pose)
                boxes = moved(tracked.boxes, np.linalg.inv(pose))
                tally.add(
                    instant.labels,
                    instant.wanted,
                    boxes,
                    tracked.velocities_mps,
                    in_field(boxes, instant.half_angle_deg),
                    instant.velocities_mps,
                )
                true = moved(instant.labels, pose)[:, :2]
                where = dict(zip(instant.ids, true, strict=False))
                ahead += [float(np.hypot(*(place - where[own]))) for own, place in said.pop(stamp_ns, []) if own in where]
                forecast = ConstantTurnRate().predict(tracked).poses[:, 0, AHEAD_STEPS, :2]
                for own, here in where.items():
                    off = np.hypot(*(tracked.boxes[:, :2] - here).T) if len(tracked) else np.array([np.inf])
                    if off.min() < SAME_M:
                        said.setdefault(stamp_ns + round(AHEAD_S * 1e9), []).append((own, forecast[off.argmin()]))
                followed = walkers.follow(stamp_ns, outside(sweep, tracked, pose), pose)
                if instant.people_m is None:
                    continue
                places = moved(np.column_stack((followed.positions_m, np.zeros((len(followed.ids), 3)))), np.linalg.inv(pose))[:, :2]
                away = np.hypot(*(places[:, None] - instant.people_m[None]).transpose(2, 0, 1))
                judged = in_field(np.column_stack((places, np.zeros((len(places), 3)))), instant.half_angle_deg)
                frames, people = frames + 1, people + len(instant.people_m)
                found += int((away < 1.0).any(axis=0).sum())
                wrong += int((judged & ~(away < 1.0).any(axis=1)).sum())
        figures = tally.result()
        return {
            "recall": figures["recall"],
            "precision": figures["precision"],
            "speed error m/s": float(np.mean(tally.speed_mps)) if tally.speed_mps else 0.0,
            "error at 2.4 s m": float(np.mean(ahead)) if ahead else 0.0,
            "people found": found / max(people, 1),
            "wrong people a frame": wrong / max(frames, 1),
        }


def vehicle_numbers() -> list[Number]:
    """The numbers of the rules, and the defaults of the tracker's parameters."""
    rules = [number for number in numbers_of(RULES) if number.name not in COLUMNS]
    defaults = [
        Number(CONFIG, field.name, getattr(VehicleTrackingConfig(), field.name))
        for field in fields(VehicleTrackingConfig)
        if field.name not in COLUMNS
    ]
    return [*rules, *defaults]


def main() -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bag", type=Path, help="labelled bag")
    parser.add_argument("--ground-truth", type=Path, help="its table of labelled tracks")
    parser.add_argument("--sweeps", type=int, default=60, help="of the bag, from its start (default: %(default)s)")
    parser.add_argument("--worlds", type=int, default=2, help="simulated streets and crossings, in turn (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=60200)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each (default: %(default)s)")
    parser.add_argument("--speed", type=float, default=6.0, help="of the ego, m/s (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("bench_out/vehicle_constants"))
    args = parser.parse_args()
    if bool(args.bag) != bool(args.ground_truth):
        parser.error("--bag and --ground-truth go together")
    recordings = [from_bag(args.bag, args.ground_truth, args.sweeps)] if args.bag else []
    recordings += [from_world(("street", "crossing")[n % 2], args.first_seed + n, args.seconds, args.speed) for n in range(args.worlds)]
    judge = Judge(recordings)
    report(measure(vehicle_numbers(), judge, args.out / "rows.jsonl", judge.change), LIMITS, "vehicle constants", args.out)


if __name__ == "__main__":
    main()
