"""How well vehicles are detected and tracked: `make bench-vehicles ARGS="..."`. Prints one JSON line for each recording.

--bag BAG --ground-truth CSV   a labelled bag, as for `make bench-people` with odom_yaw, length and width; judged in the camera's field
--frames FILE.npz              single labelled sweeps: detections above 0.5 are judged
--worlds 4 --speed 12          simulated streets and crossings with the ego at that speed
--indoors 6                    simulated halls, corridors and warehouses, in turn: every vehicle reported there is false
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from experiments.vehicles.judge import MOVING_MPS, Tally, in_field
from experiments.vehicles.worlds import drive
from jepa_ros.movers import TrackedVehicles, VehicleDetections
from jepa_ros.objects.detection import DetectionConfig, PersonDetector
from jepa_ros.objects.tracking import PeopleTracker
from jepa_ros.objects.vehicles.boxes import moved, within
from jepa_ros.objects.vehicles.people_filter import outside
from jepa_ros.objects.vehicles.proposals import grown
from jepa_ros.objects.vehicles.tracking import VehicleTracker
from jepa_ros.sensing import GroundEstimator, open_bag
from jepa_ros.types import FloatArray, Observation, TrackedPeople

CAMERA_HALF_ANGLE_DEG = 38.0  # of the labelled field
PEOPLE, VEHICLES = {"Pedestrian", "Cyclist", "Person_sitting"}, {"Car", "Van", "Truck", "Tram", "Misc", "Bus"}
LABELLED_VEHICLES = ("car", "truck", "bus", "vehicle", "tram")  # parts of the names of classes in single sweeps
INDOORS_SEED, WALKING_MPS = 60300, 1.0
NEAR_M, ENOUGH_RETURNS = 1.0, 20  # a track of a person is right so near to a label; a vehicle with fewer returns is no miss


@dataclass
class Objects:
    """Detector and trackers as the pipeline has them, without the world model, of which they ask nothing."""

    detector: PersonDetector
    people: PeopleTracker = field(default_factory=PeopleTracker)
    vehicles: VehicleTracker = field(default_factory=VehicleTracker)
    spent_ms: list[float] = field(default_factory=list)

    def step(self, observation: Observation) -> tuple[TrackedPeople, TrackedVehicles]:
        start_s, pose = time.process_time(), observation.odom_from_anchor
        seen = self.detector.detect_in(observation)
        vehicles = self.vehicles.follow(observation.stamp_ns, seen.vehicles or VehicleDetections(), pose)
        people = self.people.follow(observation.stamp_ns, outside(seen, vehicles, pose), pose)
        self.spent_ms.append(1e3 * (time.process_time() - start_s))
        return people, vehicles


def labelled_bag(bag: Path, table: Path, detector: PersonDetector) -> dict[str, object]:
    """Vehicles and people of a bag with labelled tracks, in the camera's field, 3-30 m."""
    rows: dict[int, list[dict[str, str]]] = {}
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(int(row["stamp_ns"]), []).append(row)
    tally, objects = Tally(), Objects(detector)
    labelled = found = tracks = wrong = moving = 0
    for observation in open_bag(bag):
        people, vehicles = objects.step(observation)
        inverse = np.linalg.inv(observation.odom_from_anchor)
        here = rows.get(observation.stamp_ns, [])
        labels = moved(boxes_of([row for row in here if row["class"] in VEHICLES]), inverse)
        boxes, near = moved(vehicles.boxes, inverse), in_field(labels)
        tally.add(labels, near, boxes, vehicles.velocities_mps, in_field(boxes, CAMERA_HALF_ANGLE_DEG))
        bodies = moved(boxes_of([row for row in here if row["class"] in PEOPLE]), inverse)[:, :2]
        bodies = bodies[np.hypot(*bodies.T) < 30.0]
        places = people.positions_m.reshape(-1, 2) @ inverse[:2, :2].T + inverse[:2, 3]
        away = np.hypot(*(places[:, None] - bodies[None]).transpose(2, 0, 1))
        judged = in_field(places, CAMERA_HALF_ANGLE_DEG)
        off = judged & ~(away < NEAR_M).any(axis=1)
        labelled, found = labelled + len(bodies), found + int((away < NEAR_M).any(axis=0).sum())
        tracks, wrong = tracks + int(judged.sum()), wrong + int(off.sum())
        moving += int((off & (np.hypot(*people.velocities_mps.reshape(-1, 2).T) > 0.5)).sum())
    frames = max(tally.frames, 1)
    told = {"recall": round(found / max(labelled, 1), 3), "wrong": round(wrong / frames, 3), "wrong_and_moving": round(moving / frames, 3)}
    return {"bag": bag.name, "vehicles": tally.result(), "people": told, "spent_ms": round(float(np.median(objects.spent_ms)), 1)}


def boxes_of(rows: list[dict[str, str]]) -> FloatArray:
    """(N, 5) boxes in odom of rows of a table of labels."""
    names = ("odom_x", "odom_y", "odom_yaw", "length", "width")
    return np.array([[float(row[name]) for name in names] for row in rows]).reshape(-1, 5)


def labelled_frames(path: Path, detector: PersonDetector) -> dict[str, object]:
    """Single sweeps with boxes: detections at 0.5 and above, grown to whole cars, within 30 m all around."""
    data, tally = np.load(path), Tally()
    for frame in range(len(data["offsets"]) - 1):
        points = data["points"][data["offsets"][frame] : data["offsets"][frame + 1], :3].astype(np.float32)
        ground = GroundEstimator(-1.8)
        ground.update(points)
        lidar_m = np.array([0.0, 0.0, -ground.height_m])
        placed = points + lidar_m.astype(np.float32)
        own = slice(data["box_offsets"][frame], data["box_offsets"][frame + 1])
        names = [str(name).lower() for name in data["box_class"][own]]
        wanted = np.array([any(part in name for part in LABELLED_VEHICLES) for name in names])
        labels = data["boxes"][own][wanted][:, [0, 1, 6, 3, 4]].astype(float)
        labels[:, 3:] = -np.sort(-labels[:, 3:], axis=1)  # some give the width first; the yaw is along the longer side in all
        seen = detector.detect(placed, 0.0, lidar_m).vehicles or VehicleDetections()
        boxes = grown(seen.boxes[seen.scores >= 0.5], lidar_m[:2])
        counts = within(labels, placed[placed[:, 2] > 0.3][:, :2].astype(float)).sum(axis=1)
        tally.add(labels, in_field(labels) & (counts >= ENOUGH_RETURNS), boxes, np.zeros((len(boxes), 2)), in_field(boxes))
    return {"frames": path.name, "vehicles": tally.result()}


def simulated(seed: int, scenario: str, seconds: float, speed_mps: float, detector: PersonDetector) -> dict[str, object]:
    """A simulated street: everything is labelled, and what stands must stand."""
    tally, objects, standing, frames = Tally(), Objects(detector), 0, 0
    for observation, agents in drive(scenario, seed, seconds, speed_mps, 32, 900):
        people, vehicles = objects.step(observation)
        inverse = np.linalg.inv(observation.odom_from_anchor)
        cars = [agent for agent in agents if agent.kind == "car"]
        boxes = np.array([[*agent.position_m[:2], agent.yaw_rad, *agent.size_m[:2]] for agent in cars]).reshape(-1, 5)
        labels, truth = moved(boxes, inverse), np.array([agent.velocity_mps for agent in cars]).reshape(-1, 2)
        height = observation.flattened_m[:, 2] - observation.ground_height_m
        counts = within(labels, observation.flattened_m[height > 0.3][:, :2].astype(float)).sum(axis=1)
        mine = moved(vehicles.boxes, inverse)
        if len(objects.spent_ms) <= 5:
            continue
        frames += 1
        tally.add(labels, in_field(labels) & (counts >= ENOUGH_RETURNS), mine, vehicles.velocities_mps, in_field(mine), truth)
        # Nobody and nothing that moves is near to a track that does: something that stands is said to move.
        movers = np.array([agent.position_m[:2] for agent in agents if np.hypot(*agent.velocity_mps) > 0.2]).reshape(-1, 2)
        told = np.concatenate((people.positions_m.reshape(-1, 2), vehicles.boxes[:, :2]))
        speeds = np.hypot(*np.concatenate((people.velocities_mps.reshape(-1, 2), vehicles.velocities_mps)).T)
        inside = in_field(np.column_stack((told @ inverse[:2, :2].T + inverse[:2, 3], np.zeros((len(told), 3)))))
        alone = np.hypot(*(told[:, None] - movers[None]).transpose(2, 0, 1)).min(axis=1, initial=np.inf) > 3.0
        standing += int((alone & inside & (speeds > 0.5)).sum())
    moves = round(standing / max(frames, 1), 3)
    return {"world": f"{scenario} {seed}", "speed_mps": speed_mps, "vehicles": tally.result(), "standing_said_to_move": moves}


INDOORS, PLANNED_ON = ("hall", "corridor", "warehouse"), 0.75  # the existence from which planners heed a vehicle


def indoors(seed: int, scenario: str, seconds: float, detector: PersonDetector) -> dict[str, object]:
    """A place without vehicles, seen by a robot that walks through it: how many are reported in a frame."""
    objects, reported, believed, moving, frames = Objects(detector), 0, 0, 0, 0
    for observation, _ in drive(scenario, seed, seconds, WALKING_MPS, 32, 900):
        _, vehicles = objects.step(observation)
        if len(objects.spent_ms) <= 5:
            continue
        inside = in_field(moved(vehicles.boxes, np.linalg.inv(observation.odom_from_anchor)))
        frames, reported = frames + 1, reported + int(inside.sum())
        believed += int((inside & np.asarray(vehicles.existence >= PLANNED_ON)).sum())
        moving += int((inside & (np.hypot(*vehicles.velocities_mps.reshape(-1, 2).T) > MOVING_MPS)).sum())
    counts = {"wrong_in_a_frame": reported, "of_these_planned_on": believed, "of_these_moving": moving}
    return {"world": f"{scenario} {seed}", "frames": frames} | {name: round(count / max(frames, 1), 3) for name, count in counts.items()}


def main() -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bag", type=Path)
    parser.add_argument("--ground-truth", type=Path)
    parser.add_argument("--frames", type=Path)
    parser.add_argument("--worlds", type=int, default=0, help="how many simulated ones, streets and crossings in turn")
    parser.add_argument("--first-seed", type=int, default=60200)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--speed", type=float, default=12.0, help="of the ego, m/s")
    parser.add_argument("--verifier", default="", help="weights that tell vehicles; empty = the shipped ones")
    parser.add_argument("--indoors", type=int, default=0, help="how many simulated halls, corridors and warehouses, in turn")
    args = parser.parse_args()
    detector = PersonDetector(DetectionConfig(vehicle_verifier=args.verifier))
    if args.bag:
        if not args.ground_truth:
            parser.error("--bag needs --ground-truth")
        print(json.dumps(labelled_bag(args.bag, args.ground_truth, detector)), flush=True)
    if args.frames:
        print(json.dumps(labelled_frames(args.frames, detector)), flush=True)
    for number in range(args.worlds):
        scenario = ("street", "crossing")[number % 2]
        print(json.dumps(simulated(args.first_seed + number, scenario, args.seconds, args.speed, detector)), flush=True)
    for number in range(args.indoors):
        print(json.dumps(indoors(INDOORS_SEED + number, INDOORS[number % len(INDOORS)], args.seconds, detector)), flush=True)


if __name__ == "__main__":
    main()
