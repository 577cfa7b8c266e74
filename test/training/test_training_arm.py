"""An arm's world model from recordings: grips and their ends are found in a bag, a tiny model learns from them, and its file answers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from jepa_ros.backends import load_world_model
from jepa_ros.backends.actions import ActionImaginer, ActionPlanner
from jepa_ros.backends.arm.network import ArmModel, ArmModelConfig
from jepa_ros.exchange.lerobot_layout import DataSetWriter
from jepa_ros.protocols import WorldModel
from jepa_ros.training.__main__ import main
from jepa_ros.training.arm.bags import read_bag
from jepa_ros.training.arm.command import ArmCommand, episodes_of
from jepa_ros.training.arm.episodes import HELD, LOST, UNKNOWN, ArmEpisodes
from jepa_ros.training.arm.hold import fit_hold, grips_of, hold_probability, observed
from jepa_ros.training.arm.lerobot import read_data_set
from jepa_ros.training.arm.loop import ArmTraining, left_out, train
from jepa_ros.training.arm.recording import ArmTopics
from jepa_ros.training.arm.stretches import GripperRange, GripRules, grips_in, outcome_of, stretches_of

TINY = ArmModelConfig(width=8, channels=8, predictor_width=24, predictor_depth=1, predictor_heads=2, hold_width=8, hold_judges=1)
TINY_YAML = """
training:
  steps: 4
  member_steps: 2
  inverse_steps: 2
  batch: 2
  member_batch: 2
  frames: 6
  model: {width: 8, channels: 8, predictor_width: 24, predictor_depth: 1, predictor_heads: 2, members: 2, hold_width: 8, hold_judges: 1}
"""
STORE = get_typestore(Stores.ROS2_JAZZY)
WIDTH_M = {"open": 0.09, "held": 0.04, "empty": 0.0}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def write_bag(path: Path, grips: int, outcome: bool = False) -> Path:
    """Every grip: two samples open, closed on something, five lifts at 4 Hz; every other thing is lost on the way. Fast lifts look dark."""
    types, new = STORE.types, lambda kind, *args: STORE.types[kind](*args)
    topics = {"/cam": "sensor_msgs/msg/Image", "/ee": "geometry_msgs/msg/PoseStamped", "/joints": "sensor_msgs/msg/JointState"}
    topics |= {"/held": "std_msgs/msg/Bool"} if outcome else {}
    rng = np.random.default_rng(0)
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        out = {name: writer.add_connection(name, kind, typestore=STORE) for name, kind in topics.items()}

        def write(name: str, message: Any, stamp: int) -> None:
            writer.write(out[name], stamp, STORE.serialize_cdr(message, topics[name]))

        stamp = 1_700_000_000_000_000_000
        for grip in range(grips):
            lost, z = grip % 2 == 1, 0.05
            for step in range(8):
                header = new("std_msgs/msg/Header", types["builtin_interfaces/msg/Time"](stamp // 10**9, stamp % 10**9), "base")
                width = WIDTH_M["open" if step < 2 else "empty" if lost and step >= 5 else "held"]
                z += 0.0 if step < 3 else 0.04 if lost else 0.01
                image = np.full((48, 64, 3), 200 - int(700 * z), np.uint8) + rng.integers(0, 20, (48, 64, 3), np.uint8)
                pose = new(
                    "geometry_msgs/msg/Pose", types["geometry_msgs/msg/Point"](0.1, 0.0, z),
                    types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0),
                )  # fmt: skip
                write("/cam", new("sensor_msgs/msg/Image", header, 48, 64, "rgb8", 0, 192, image.reshape(-1)), stamp)
                write("/ee", new("geometry_msgs/msg/PoseStamped", header, pose), stamp)
                numbers = (np.array([0.3, width]), np.zeros(0), np.zeros(0))
                write("/joints", new("sensor_msgs/msg/JointState", header, ["elbow", "gripper_joint"], *numbers), stamp)
                if outcome:
                    write("/held", new("std_msgs/msg/Bool", 2 <= step < 7), stamp)
                stamp += 250_000_000
            stamp += 2_000_000_000
    return path


def test_a_bag_gives_runs_without_gaps(tmp_path):
    runs = read_bag(write_bag(tmp_path / "bag", 3), ArmTopics(), 0.25).runs
    assert [len(run) for run in runs] == [8, 8, 8]
    actions = runs[1].actions(GripperRange(0.09, 0.0).closing)
    np.testing.assert_allclose(actions[:, 2], [0, 0, 0.04, 0.04, 0.04, 0.04, 0.04], atol=1e-6)
    np.testing.assert_allclose(actions[1, 6], 5 / 9, atol=1e-6)
    assert runs[0].images[0].shape == (1, 64, 64, 3)


def test_a_topic_that_could_be_several_must_be_named(tmp_path):
    bag = write_bag(tmp_path / "bag", 1)
    with pytest.raises(ValueError, match=r"/nowhere is not there, as camera it must be"):
        read_bag(bag, ArmTopics(image="/nowhere"), 0.25)
    with pytest.raises(ValueError, match="nothing of use came on /joints"):
        read_bag(bag, ArmTopics(joint="wrist"), 0.25)


def test_how_a_grip_ended():
    rules, none = GripRules(), [None] * 8
    closing = np.array([0, 0.3, 0.6, 0.6, 0.6, 0.6, 1.0, 1.0])
    told = np.array([0, 0.5, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8])
    assert grips_in(closing, rules) == [2, 6]
    assert list(outcome_of(closing, told, none, 2, rules)) == [HELD] * 4 + [LOST] * 2
    opened = np.array([0, 0.5, 0.8, 0.8, 0.8, 0.1, 0.1, 0.1])
    assert list(outcome_of(np.full(8, 0.6), opened, none, 2, rules)) == [HELD] * 3 + [UNKNOWN] * 3
    said = [False, False, True, True, False, True, True, True]
    assert list(outcome_of(closing, told, said, 2, rules)) == [HELD] * 2 + [LOST] * 4, "what is lost does not come back"
    assert list(outcome_of(np.full(8, 1.0), told, none, 2, rules)) == [LOST] * 6, "closed on nothing"


def test_the_outcome_topic_is_believed(tmp_path):
    runs = read_bag(write_bag(tmp_path / "bag", 2, outcome=True), ArmTopics(outcome="/held"), 0.25).runs
    grips = stretches_of(runs, GripperRange(0.09, 0.0), 7, GripRules())
    with_grip = grips.part(np.flatnonzero(grips.grip >= 0))
    assert list(with_grip.outcome[0, 2:]) == [HELD] * 5
    told_by_width = stretches_of(read_bag(tmp_path / "bag", ArmTopics(), 0.25).runs, GripperRange(0.09, 0.0), 7, GripRules())
    assert list(told_by_width.outcome[told_by_width.grip >= 0][1, 2:]) == [HELD] * 3 + [LOST] * 2


def test_the_owners_command_leaves_a_model_that_answers(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("jepa_ros.training.arm.hold.STEPS", 100)
    config = tmp_path / "tiny.yaml"
    config.write_text(TINY_YAML)
    bag = write_bag(tmp_path / "bag", 24)
    assert main(["arm", str(bag), "--out", str(tmp_path / "out"), "--config", str(config)]) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["holds"]
    assert result["max_move_m"] == pytest.approx(0.04, abs=1e-3)
    assert result["hold_loss"] > 0
    model = load_world_model("arm", device="cpu", weights=str(tmp_path / "out"))
    assert isinstance(model, WorldModel)
    assert isinstance(model, ActionPlanner)
    assert isinstance(model, ActionImaginer)
    image = np.full((48, 64, 3), 120, np.uint8)
    now = model.encode_images([image])
    history = torch.cat([now, now])
    states = np.array([[0.1, 0, 0.05, 0, 0, 0, 0.0, 0.0], [0.1, 0, 0.05, 0, 0, 0, 0.55, 0.7]])
    steps = model.spec.horizon
    imagined = model.imagine_actions(history, states, torch.zeros(3, steps, 7))
    assert imagined.hold_SL.shape == imagined.hold_spread_SL.shape == (3, steps)
    assert (np.diff(imagined.hold_SL) <= 1e-9).all(), "what is lost does not come back"
    goal = model.encode_goal(np.full((48, 64, 3), 60, np.uint8))[0]
    plan = model.plan_holding(history, states, goal, 2, 5.0, 0.0)
    assert plan.actions_LA.shape == (2, 7)
    assert plan.hold_L.shape == (2,)
    with pytest.raises(ValueError, match="1 or 2 x 8 finite values"):
        model.imagine_actions(history, states[:, :7], torch.zeros(1, 1, 7))
    assert main(["arm", str(write_bag(tmp_path / "short", 0 + 1)), "--out", str(tmp_path / "none"), "--config", str(config)]) == 2
    assert "too few" in capsys.readouterr().err


def synthetic(count: int) -> ArmEpisodes:
    """A bright spot is carried; it stays bright where the motion is slow. All that decides is the motion."""
    rng = np.random.default_rng(1)
    frames = 8
    fast = rng.random(count) < 0.5
    images = rng.integers(0, 30, (count, frames, 1, 64, 64, 3), np.uint8)
    actions = np.zeros((count, frames - 1, 7), np.float32)
    actions[:, 2:, 2] = np.where(fast, 0.05, 0.01)[:, None]
    images[:, :, :, 20:44, 20:44] += 150
    images[fast, 4:, :, 20:44, 20:44] -= 150
    outcome = np.full((count, frames), UNKNOWN, np.int8)
    outcome[:, 2:] = HELD
    outcome[fast, 4:] = LOST
    return ArmEpisodes(images, actions, np.full((count, frames), 0.5, np.float32), np.full(count, 2), outcome)


def test_a_finished_training_is_kept_and_what_is_lost_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr("jepa_ros.training.arm.hold.STEPS", 300)
    data = synthetic(48)
    config = ArmTraining(steps=12, member_steps=6, inverse_steps=4, batch=8, member_batch=8, frames=7, learning_rate=3e-3, model=TINY)
    model = train(data, tmp_path, config)
    again = train(data, tmp_path, config)
    torch.testing.assert_close(again.state_dict(), model.state_dict())
    with pytest.raises(ValueError, match="other options"):
        train(data, tmp_path, dataclasses.replace(config, learning_rate=1e-3))
    grips, kept = grips_of(model, data), data.outcome[:, -1] == HELD
    fit_hold(model, observed(grips), observed(grips))  # six steps of a predictor show nothing yet of how a motion ends
    hold, _ = hold_probability(model, observed(grips))
    assert hold[kept, -1].mean() - hold[~kept, -1].mean() > 0.5
    fit_hold(model, grips_of(model, data, learned=True), grips)
    imagined, spread = hold_probability(model, grips)
    assert imagined.shape == spread.shape == (48, 5)
    assert (spread > 0).any(), "the members are not copies of each other"


PLACES = ["x", "y", "z", "roll", "pitch", "yaw"]


def write_data_set(path: Path, grips: int, names: list[str] | None = None, split: bool = False) -> Path:
    """The same grips as others store them: 20 frames a second, closing grows from 0 to 1. split: as in DROID, pose and gripper apart."""
    features: dict[str, dict[str, Any]] = {
        f"observation.images.{camera}": {"dtype": "image", "shape": [48, 64, 3], "names": ["height", "width", "channels"]}
        for camera in ("front", "wrist")
    }
    names = names or [*PLACES, "gripper", "gripper"]
    features["observation.state"] = {"dtype": "float32", "shape": [len(names)], "names": {"motors": names}}
    if split:
        del features["observation.state"]
        features["observation.state.cartesian_position"] = {"dtype": "float32", "shape": [6], "names": None}
        features["observation.state.gripper_position"] = {"dtype": "float32", "shape": [1], "names": None}
    features["action"] = {"dtype": "float32", "shape": [7], "names": {"motors": [*PLACES, "gripper"]}}
    features["is_held"] = {"dtype": "bool", "shape": [1], "names": None}
    writer = DataSetWriter(path, 20.0, features, "lift")
    for grip in range(grips):
        writer.begin()
        lost = grip % 2 == 1
        for frame in range(36):
            step = frame // 5
            z = 0.05 + (0.04 if lost else 0.01) * max(0, step - 2)
            closing = 0.0 if step < 2 else 1.0 if lost and step >= 5 else 0.55
            picture = {"bytes": cv2.imencode(".png", np.full((48, 64, 3), 200 - int(700 * z), np.uint8))[1].tobytes(), "path": None}
            told = {"x": 0.1, "y": 0.0, "z": z, "gripper": closing, "qw": 1.0}
            state = [float(told.get(name.split(".")[-1], 0.0)) for name in names]
            row = {
                "observation.state": state,
                "observation.state.cartesian_position": state[:6],
                "observation.state.gripper_position": closing,
                "action": [0.0] * 6 + [closing],
                "is_held": 2 <= step < (5 if lost else 99),
            }
            writer.add({name: row.get(name, picture) for name in features}, {})
        writer.end()
    writer.close()
    return path


def test_a_lerobot_data_set_gives_the_same_runs_as_a_bag(tmp_path):
    bag = read_bag(write_bag(tmp_path / "bag", 3), ArmTopics(), 0.25)
    named = ArmTopics(image="observation.images.front", wrist="observation.images.wrist")
    found = read_data_set(write_data_set(tmp_path / "data", 3), named, 0.25)
    assert found.cameras == ("/front/image_raw", "/wrist/image_raw")
    assert [len(run) for run in found.runs] == [8, 8, 8], "each episode for itself"
    assert found.runs[0].images[0].shape == (2, 64, 64, 3)
    for one, other in zip(found.runs, bag.runs, strict=True):
        old, new = other.actions(GripperRange(0.09, 0.0).closing), one.actions(GripperRange(0.0, 1.0).closing)
        np.testing.assert_allclose(new[:, :6], old[:, :6], atol=1e-6)
    assert [run.held[-1] for run in found.runs] == [None] * 3
    told = read_data_set(tmp_path / "data", dataclasses.replace(named, outcome="is_held", command="action"), 0.25)
    assert [run.held[-1] for run in told.runs] == [True, False, True]
    assert told.runs[0].commands[-1] == pytest.approx(0.55)


@pytest.mark.parametrize("turn", [["wx", "wy", "wz"], ["qx", "qy", "qz", "qw"]])
def test_turns_are_read_by_their_names(tmp_path, turn):
    names = [f"ee.{name}" for name in ("x", "y", "z", *turn)]
    data = write_data_set(tmp_path / "data", 1, [*names, "ee.gripper"])
    run = read_data_set(data, ArmTopics(image="observation.images.front"), 0.25).runs[0]
    np.testing.assert_allclose(run.poses[0], [0.1, 0, 0.05, 0, 0, 0], atol=1e-7)


def test_quaternions_of_zeros_are_samples_less_and_nothing_breaks(tmp_path):
    names = ["x", "y", "z", "qx", "qy", "qz", "QW", "gripper"]  # QW is qw, and written as 0
    assert read_data_set(write_data_set(tmp_path / "data", 1, names), ArmTopics(image="observation.images.front"), 0.25).runs == []


def test_what_a_data_set_lacks_is_said_with_what_it_has(tmp_path):
    data = write_data_set(tmp_path / "data", 1)
    with pytest.raises(ValueError, match="2 features could be a camera; name it"):
        read_data_set(data, ArmTopics(), 0.25)
    front = ArmTopics(image="observation.images.front")
    with pytest.raises(ValueError, match=r"/ee is not the end effector's pose.*observation.state: x, y, z"):
        read_data_set(data, dataclasses.replace(front, pose="/ee"), 0.25)
    with pytest.raises(ValueError, match="held is not the outcome"):
        read_data_set(data, dataclasses.replace(front, outcome="held"), 0.25)
    joints = write_data_set(tmp_path / "joints", 1, [f"joint{k}" for k in range(6)] + ["gripper"])
    with pytest.raises(ValueError, match="0 features could be the end effector's pose"):
        read_data_set(joints, front, 0.25)


def test_grips_of_a_data_set_are_found_and_split_features_by_name(tmp_path):
    data = write_data_set(tmp_path / "data", 4, split=True)
    topics = ArmTopics(image="observation.images.front", pose="observation.state.cartesian_position")
    config = ArmCommand(gripper_open=0.0, gripper_closed=1.0, topics=topics, training=ArmTraining(frames=6))
    episodes, gripper, cameras = episodes_of([data, data], config)
    assert (gripper.open, gripper.closed, cameras) == (0.0, 1.0, ("/front/image_raw",))
    grips = episodes.part(np.flatnonzero(episodes.grip >= 0))
    assert list(grips.outcome[:, -1]) == [HELD, LOST] * 4, "lost ones are told by fingers that close further"
    assert grips.closing[0, 2] == pytest.approx(0.55)


def test_the_head_learns_from_what_a_predictor_imagines_of_stretches_that_it_left_out():
    torch.manual_seed(0)
    model, data = ArmModel(TINY).eval().requires_grad_(False), synthetic(16)
    for member in range(2):
        torch.nn.init.normal_(model.predictor(member).predictor_proj.weight)
    every, unseen = grips_of(model, data), grips_of(model, data, learned=True)
    assert list(left_out(16, 2)) == [0] * 8 + [1] * 8
    assert torch.equal(unseen.imagined_MKLPD[0, :8], every.imagined_MKLPD[0, :8])
    assert torch.equal(unseen.imagined_MKLPD[0, 8:], every.imagined_MKLPD[1, 8:])
    assert not torch.equal(every.imagined_MKLPD[0], every.imagined_MKLPD[1])
