"""What cameras say changes who is believed: with a detector that is asked, one that comes over topics, and none."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from camera_scenes import CAMERA_FROM_ODOM, MODEL, PERIOD_NS, Fake, columns, near, observation, person_at, run, told

from jepa_ros.movers import ImageBoxes, Kind, VehicleDetections
from jepa_ros.objects.camera.candidates import Candidates, outlines, vehicle_boxes
from jepa_ros.objects.camera.classes import UnknownClass, kind_of, kinds_by_name
from jepa_ros.objects.camera.loading import load_camera_detector
from jepa_ros.objects.camera.matching import matched
from jepa_ros.objects.camera.onnx_detector import crop, distinct
from jepa_ros.objects.camera.tiles import answered, choose
from jepa_ros.objects.camera.trust import CameraTrust
from jepa_ros.objects.camera.vote import CameraVote, answers_of
from jepa_ros.types import CameraImage, CameraModel, FloatArray


def test_a_camera_raises_whom_the_lidar_doubts_and_sinks_what_it_takes_for_people() -> None:
    found = columns((8.0, 1.0, 0.06), (9.0, -1.5, 0.85), (-8.0, 0.0, 0.9))  # a person, a pole, somebody behind the robot
    alone, together = run(None, found)[-1], run(CameraVote(Fake((8.0, 1.0))), found)[-1]
    assert (near(alone, 8, 1), near(alone, 9, -1.5), near(alone, -8, 0)) == (False, True, True)
    assert (near(together, 8, 1), near(together, 9, -1.5), near(together, -8, 0)) == (True, False, True)


def test_where_no_camera_looks_nothing_changes() -> None:
    found = columns((-8.0, 0.0, 0.9), (-6.0, 3.0, 0.4), (2.0, 12.0, 0.7), (-9.0, 5.0, 0.04))
    fake = Fake()
    vote = CameraVote(fake)
    believed = columns((-8.0, 0.0, 0.9), (-6.0, 3.0, 0.4), (2.0, 12.0, 0.7))
    for alone, together in zip(run(None, believed), run(vote, found), strict=True):
        np.testing.assert_array_equal(alone.ids, together.ids)
        np.testing.assert_array_equal(alone.existence, together.existence)
    assert fake.looks == 0  # nobody to ask about is in the image


def test_somebody_in_full_view_is_reported_within_0_3_s() -> None:
    reports = run(CameraVote(Fake((12.0, 0.5))), columns((12.0, 0.5, 0.6)), 4)
    assert near(reports[3], 12, 0.5)


def test_looks_are_as_many_as_the_rate_allows() -> None:
    fake = Fake((8.0, 0.0))
    run(CameraVote(fake, rate_hz=2.5), columns((8.0, 0.0, 0.9)), 21)
    assert fake.looks == 5  # in two seconds, none in the first sweep, before anybody is proposed


def test_a_detector_that_fails_costs_its_word_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Fake):
        def detect(self, image: CameraImage, regions_px: FloatArray) -> ImageBoxes:
            raise RuntimeError("out of memory")

    found = columns((8.0, 0.0, 0.9))
    with caplog.at_level(logging.WARNING):
        together = run(CameraVote(Broken()), found)[-1]
    np.testing.assert_array_equal(run(None, found)[-1].existence, together.existence)
    assert "out of memory" in caplog.text


def test_boxes_of_another_detector_count_as_our_own() -> None:
    found = columns((8.0, 1.0, 0.06), (9.0, -1.5, 0.85))
    vote = CameraVote(None)
    people = run(vote, found, detected=(told(person_at(8.0, 1.0)),))[-1]
    assert (near(people, 8, 1), near(people, 9, -1.5)) == (True, False)


def test_late_boxes_of_an_image_confirm_whom_they_showed() -> None:
    """Somebody crosses at 1.5 m/s, 8 m away; the boxes come 0.3 s late. A pole on the way is not taken for them."""
    vote, late = CameraVote(None), 3
    for step in range(20):
        places = [(8.0, -1.2 + 0.15 * max(at, 0)) for at in (step, step - late)]
        found = columns((*places[0], 0.9), (8.0, 1.9, 0.9))
        seen = observation(step * PERIOD_NS, detected=(told(person_at(*places[1]), stamp_ns=max(step - late, 0) * PERIOD_NS),))
        vote.begin(seen)
        said = vote.judge(seen, found)
        assert said.camera[0] > 0, step
        assert not said.camera[1] > 0, step


def test_a_camera_that_sees_nothing_denies_nobody() -> None:
    """At night: a person of whom the lidar is sure, and one of whom it is less so."""
    found = columns((9.0, 2.0, 0.99), (7.0, -1.5, 0.93))
    alone, night = (run(vote, found, 40)[-1] for vote in (None, CameraVote(Fake())))
    assert (near(alone, 9, 2), near(alone, 7, -1.5)) == (True, True)
    assert (near(night, 9, 2), near(night, 7, -1.5)) == (True, True)
    day = run(CameraVote(Fake((9.0, 2.0))), found, 40)[-1]
    assert (near(day, 9, 2), near(day, 7, -1.5)) == (True, False)


def test_trust_follows_what_is_found_of_those_who_are_surely_there() -> None:
    trust, nothing, one = CameraTrust(), np.zeros(1), np.ones(1)
    assert 0.4 < trust.sees < 0.6
    for _ in range(20):
        trust.learn(one, 0.7 * one, told(), np.zeros((0, 4)))
    assert trust.sees == 1.0
    np.testing.assert_allclose(trust.tempered(np.array([-1.9, 4.0])), [-1.9, 4.0])
    for _ in range(100):
        trust.learn(one, nothing, told(), np.zeros((0, 4)))
    assert trust.sees < 0.05
    assert -0.1 < trust.tempered(np.array([-1.9]))[0] < 0
    car = np.array([0, 0, 90.0, 50.0])
    for _ in range(100):
        trust.learn(0.4 * one, nothing, told(car, kinds=Kind.VEHICLE), np.zeros((0, 4)))  # where the lidar has no vehicle
    assert trust.sees < 0.05
    for _ in range(100):
        trust.learn(0.4 * one, nothing, told(car, kinds=Kind.VEHICLE), car[None] + 5.0)  # cars, no people: it sees
    assert trust.sees > 0.9


def test_a_wrong_mount_denies_nobody() -> None:
    """Ten degrees aside, parked cars in view and nobody of whom the lidar is sure; with a right mount the same cars give full trust."""
    cars = VehicleDetections(
        np.array([[14.0, 2.5, 0, 4.2, 1.8], [14.0, -2.5, 0, 4.2, 1.8]]), np.array([0.99, 0.99]), np.array([1.5, 1.5]), np.zeros(2)
    )
    found = replace(columns((9.0, 0.0, 0.9), (8.0, 2.0, 0.6)), vehicles=cars)
    there = vehicle_boxes(cars, CAMERA_FROM_ODOM, MODEL)
    assert len(there) == 2
    for aside_px, trusted in ((0.0, True), (88.0, False)):
        vote = CameraVote(None)
        for step in range(60):
            boxes = told(*(there + np.array([aside_px, 0, aside_px, 0])), kinds=Kind.VEHICLE, stamp_ns=step * PERIOD_NS)
            seen = observation(step * PERIOD_NS, detected=(boxes,))
            vote.begin(seen)
            said = vote.judge(seen, found)
        assert (said.camera < -1.5).tolist() == [trusted, trusted]
        assert trusted or (said.camera > -0.3).all()


def test_an_outline_is_where_the_lens_puts_a_body() -> None:
    candidates = Candidates.of(columns((10.0, 1.0, 1.0), (-5.0, 0.0, 1.0), (0.5, 3.0, 1.0)), np.eye(4))
    seen = outlines(candidates, CAMERA_FROM_ODOM, MODEL)
    left, top, right, bottom = seen.boxes_px[0]
    assert (0.5 * (left + right), top, bottom) == pytest.approx((270, 230, 316), abs=3)
    assert right - left == pytest.approx(30, abs=2)
    assert seen.in_view.tolist() == [1.0, 0.0, 0.0]
    bent = CameraModel(640, 480, MODEL.intrinsics, np.array([-0.3, 0.1, 0, 0, 0]))
    wide = Candidates.of(columns((10.0, 5.0, 1.0)), np.eye(4))
    assert outlines(wide, CAMERA_FROM_ODOM, bent).boxes_px[0, 0] > outlines(wide, CAMERA_FROM_ODOM, MODEL).boxes_px[0, 0] + 5
    assert len(outlines(Candidates.none(), CAMERA_FROM_ODOM, MODEL).ranges_m) == 0


def test_a_box_belongs_to_the_candidate_at_its_range() -> None:
    person, pole_before, pole_behind = (10.0, 0.0), (5.0, 0.0), (20.0, 0.1)
    found = Candidates.of(columns(*((*place, 1.0) for place in (person, pole_before, pole_behind))), np.eye(4))
    seen = outlines(found, CAMERA_FROM_ODOM, MODEL)
    scores, hidden = matched(seen, told(person_at(*person)), 500.0)
    assert scores.tolist() == [0.7, 0.0, 0.0]
    assert hidden.tolist() == [False, False, True]  # what stands behind the person cannot be denied
    nobody = answers_of(found, told(), CAMERA_FROM_ODOM, MODEL)[1]
    assert (nobody[np.isfinite(nobody)] < 0).all()


def test_whom_a_nearer_vehicle_covers_is_not_denied() -> None:
    found = Candidates.of(columns((15.0, 0.0, 1.0)), np.eye(4))
    seen = outlines(found, CAMERA_FROM_ODOM, MODEL)
    box = np.array([200.0, 180.0, 440.0, 330.0])  # ends lower than the feet at 15 m
    assert matched(seen, told(box, kinds=Kind.VEHICLE), 500.0)[1].tolist() == [True]
    assert matched(seen, told(box - (0, 0, 0, 50), kinds=Kind.VEHICLE), 500.0)[1].tolist() == [False]  # a car behind


def test_a_square_is_chosen_around_those_who_are_worth_most() -> None:
    found = Candidates.of(columns((8.0, 2.0, 1.0), (9.0, 2.5, 1.0), (10.0, -4.0, 1.0), (-5.0, 0.0, 1.0)), np.eye(4))
    seen = outlines(found, CAMERA_FROM_ODOM, MODEL)
    region = choose(seen, np.array([1.0, 1.0, 1.5, 9.0]), MODEL, 416)
    assert region[2] - region[0] == pytest.approx(region[3] - region[1])
    assert answered(region, 416 / (region[2] - region[0]), seen)[:2].all()
    assert choose(seen, np.array([0.0, 0.0, 0.0, 9.0]), MODEL, 416) is None  # only behind the camera


def test_a_crop_is_the_part_of_the_image_that_it_says() -> None:
    rgb = np.zeros((100, 200, 3), np.uint8)
    rgb[40:60, 100:140] = (200, 100, 50)
    whole = crop(rgb, np.array([79.5, 9.5, 159.5, 89.5]), 160)  # scaled by two
    assert whole.shape == (1, 3, 160, 160)
    inside = whole[0, 0] > 100
    assert (np.argwhere(inside).min(axis=0).tolist(), np.argwhere(inside).max(axis=0).tolist()) == ([60, 40], [99, 119])
    assert whole[0, :, 80, 80].tolist() == [200, 100, 50]
    small = crop(rgb, np.array([-0.5, -50.5, 199.5, 149.5]), 50)  # a quarter, beyond the image above and below
    assert small[0, 0, 0, 0] == 114
    np.testing.assert_allclose(np.argwhere(small[0, 0] > 150).mean(axis=0), [24.5, 29.5], atol=1)


def test_of_two_boxes_of_one_kind_on_one_another_the_better_stays() -> None:
    boxes = np.array([[0, 0, 10, 20.0], [1, 0, 11, 20], [0, 0, 10, 20], [40, 0, 50, 20]])
    kept = distinct(boxes, np.array([0.5, 0.8, 0.4, 0.3]), np.array([0, 0, 2, 0]))
    assert kept.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("person", Kind.PERSON), ("Pedestrian", Kind.PERSON), ("0", Kind.PERSON), ("2", Kind.VEHICLE),
        ("human.pedestrian.adult", Kind.PERSON),
        ("vehicle.bicycle", Kind.TWO_WHEELER), ("Cyclist", Kind.RIDER), ("traffic light", None), ("vehicle.bus.rigid", Kind.VEHICLE),
        ("BICYCLIST", Kind.RIDER), ("DontCare", None), ("construction-vehicle", Kind.VEHICLE),
    ],
)  # fmt: skip
def test_names_of_many_data_sets_are_known(name: str, kind: Kind | None) -> None:
    assert kind_of(name) == kind


def test_other_names_are_refused_or_given_a_meaning() -> None:
    for name in ("pallet_jack", "80", ""):
        with pytest.raises(UnknownClass):
            kind_of(name)
    assert kinds_by_name("pallet_jack=vehicle, 7=other") == {"pallet_jack": Kind.VEHICLE, "7": None}
    with pytest.raises(ValueError, match=r"pallet_jack=lorry.*write NAME=KIND"):
        kinds_by_name("pallet_jack=lorry")


def test_unknown_detectors_are_refused_with_the_known_ones(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"unknown camera detector 'yolo'.*nanodet"):
        load_camera_detector("yolo")
    pytest.importorskip("onnxruntime", reason="pip install 'jepa_ros[camera]'")
    with pytest.raises(ValueError, match=r"is no file; make camera-detector"):
        load_camera_detector(str(tmp_path / "none.onnx"))
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match="cannot be loaded by onnxruntime"):
        load_camera_detector(str(tmp_path / "bad.onnx"))
