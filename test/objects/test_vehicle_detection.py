"""The shipped verifier tells a car from a hedge among what is as large, and examples to teach it are made from sweeps."""

from dataclasses import replace

import numpy as np
import pytest
from test_verifier import LIDAR_M, street

from jepa_ros.objects.detection import DetectionConfig, PersonDetector
from jepa_ros.objects.vehicles.boxes import overlaps
from jepa_ros.objects.vehicles.evidence import BOX_EVIDENCE
from jepa_ros.objects.vehicles.proposals import grown
from jepa_ros.objects.vehicles.verifier import FORMAT, load_box_verifier
from jepa_ros.objects.verifier import Verifier
from jepa_ros.training.objects import vehicle_bodies
from jepa_ros.training.objects.bodies import CLUTTER, VEHICLE
from jepa_ros.training.objects.box_examples import boxes_of, classes_of
from jepa_ros.training.objects.casting import Beams, cast
from jepa_ros.training.objects.examples import REAL, Examples
from jepa_ros.training.objects.fit import FitConfig, fit
from jepa_ros.training.objects.indoor_bodies import INDOOR
from jepa_ros.training.objects.rays import Solids
from jepa_ros.training.objects.recordings import UNKNOWN
from jepa_ros.training.objects.train_vehicles import BOXES
from jepa_ros.weights import find_weights


def seen(thing, generator: np.random.Generator, yaw: float = 0.6):
    """What is detected of a thing that stands 10 m ahead in an empty street."""
    sweep = street(generator)
    points = sweep.points_m.astype(float)
    beams = Beams.of(points, LIDAR_M, sweep.ring)
    cloud, *_ = cast(points, sweep.ring, LIDAR_M, beams, thing, np.array([10.0, 0.0, 0.0]), yaw, generator, 0.01, 6.0)
    return PersonDetector().detect(cloud.astype(np.float32), 0.0, LIDAR_M).vehicles


def test_cars_are_vehicles_where_they_stand_and_hedges_are_none() -> None:
    generator, cars, hedges = np.random.default_rng(0), 0, 0
    for _ in range(6):
        found = seen(vehicle_bodies.car(generator), generator)
        whole = grown(found.boxes[found.scores > 0.5], np.zeros(2))
        cars += bool(len(whole)) and overlaps(whole, np.array([[10.0, 0.0, 0.6, 4.3, 1.8]])).max() > 0.5
        hedges += bool((seen(vehicle_bodies._hedge(generator), generator).scores > 0.5).any())
    assert cars >= 5
    assert hedges <= 1


def test_what_stands_indoors_is_no_vehicle() -> None:
    """Tables, racks, pallets, counters, seats, people who stand together, trolleys: few are taken for one."""
    generator, wrong = np.random.default_rng(4), 0
    for thing in sorted(set(INDOOR), key=lambda one: one.__name__):
        for _ in range(3):
            wrong += bool((seen(thing(generator), generator).scores > 0.5).any())
    assert wrong <= 3


def test_rooms_are_clutter_all_round_and_of_other_places_only_what_is_known_is_learned() -> None:
    generator = np.random.default_rng(5)
    sweep = street(generator)
    points = sweep.points_m.astype(float)
    stack = Solids(boxes=[((0.0, 0.0, 0.7), (1.5, 0.6, 0.7), 0.0)])
    beams = Beams.of(points, LIDAR_M, sweep.ring)
    cloud, ring, *_ = cast(points, sweep.ring, LIDAR_M, beams, stack, np.array([8.0, 0.0, 0.0]), 0.3, generator, 0.01, 6.0)
    room = replace(sweep, source="room", points_m=cloud.astype(np.float32), ring=ring, all_vehicles=True, point_class=None)
    counts = []
    for place in (room, replace(room, all_vehicles=False)):
        own = [boxes_of(place, number, np.random.default_rng(number)) for number in range(4)]
        counts.append(sum(int(((one.domain == REAL) & (one.classes == CLUTTER)).sum()) for one in own))
    assert counts[0] >= 3
    assert counts[1] == 0


def test_vehicles_can_be_turned_off() -> None:
    generator = np.random.default_rng(1)
    points = street(generator).points_m
    assert PersonDetector(DetectionConfig(vehicles=False)).detect(points, 0.0, LIDAR_M).vehicles is None


def test_examples_come_with_their_class_and_teach(tmp_path) -> None:
    generator = np.random.default_rng(2)
    examples = boxes_of(street(generator), 0, generator)
    assert examples.evidence.shape[1] == len(BOX_EVIDENCE)
    assert set(examples.classes.tolist()) <= {CLUTTER, VEHICLE}
    both = Examples(
        generator.normal(size=(200, len(BOX_EVIDENCE))).astype(np.float32),
        np.repeat([CLUTTER, VEHICLE], 100),
        np.zeros(200, np.intp),
        np.full(200, "made up"),
        np.zeros(200, np.intp),
    )
    both.evidence[100:, 0] += 3.0
    verifier = fit(both, FitConfig(networks=1, hidden=(8,), epochs=20, batch=20, dropout=0.0, rate=0.01), 0, task=BOXES)
    verifier.save(tmp_path / "v.safetensors", {})
    scores = load_box_verifier(str(tmp_path / "v.safetensors"))(both.evidence)
    assert scores[100:].mean() > scores[:100].mean() + 0.4
    with pytest.raises(ValueError, match="holds 'person_verifier 1', not 'vehicle_verifier 1'"):
        load_box_verifier(str(find_weights("person_verifier.safetensors")))
    assert Verifier.load(find_weights("vehicle_verifier.safetensors"), FORMAT).names == BOX_EVIDENCE


def test_a_box_is_a_vehicle_where_most_of_it_and_enough_of_the_vehicle_is() -> None:
    owner = np.repeat([0, 1, 2, 3], 10)
    of_thing = np.full(40, -1)
    of_thing[:9] = 0  # nine tenths of the box, and most of the car
    of_thing[10:14] = 0  # less than half of the box
    of_thing[20:30] = 1  # a hedge
    classes, made_up = classes_of(owner, 4, of_thing, np.ones(40, bool), np.array([VEHICLE, CLUTTER]))
    assert classes.tolist() == [VEHICLE, UNKNOWN, CLUTTER, CLUTTER]
    assert made_up.tolist() == [True, False, True, False]
