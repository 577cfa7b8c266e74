"""The shipped weights of the simulated arm, on grips that they have not seen."""

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco")

from experiments.carry.data import learnable
from experiments.carry.probes import auroc
from experiments.carry.reach import REACHED_M, draw_reach, reach
from jepa_ros.backends import load_world_model
from jepa_ros.backends.arm.file import load
from jepa_ros.backends.arm.model import ArmWorldModel
from jepa_ros.backends.arm.plan import ArmPlanning
from jepa_ros.backends.vjepa2_ac.search import SearchConfig
from jepa_ros.sim.carry.episodes import Episodes, episode
from jepa_ros.training.arm.episodes import HELD
from jepa_ros.training.arm.hold import grips_of, hold_probability
from jepa_ros.weights import find_weights


def test_it_tells_motions_that_hold_from_those_that_lose_the_object() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model, facts = load(find_weights("arm_simulated.safetensors"))
        ones = [episode(number, 2) for number in range(70_000, 70_080)]
        data = learnable(Episodes(*(np.stack([getattr(one, name) for one in ones]) for name in Episodes.__dataclass_fields__)))
        grips = grips_of(model, data)
        held = (grips.outcome_KL[:, -1] == HELD).numpy()
        told = hold_probability(model, grips)[0][:, -1].double().numpy()
    finally:
        torch.set_num_threads(threads)
    assert load_world_model("arm", device="cpu", weights="simulated").spec.cameras == facts.cameras
    assert 0.3 < held.mean() < 0.9
    assert auroc(told, held) > 0.8
    assert abs(told.mean() - held.mean()) < 0.15


def test_it_reaches_what_an_image_shows() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        world = load_world_model("arm", device="cpu", weights="simulated")
        assert isinstance(world, ArmWorldModel)
        world.planning = ArmPlanning(search=SearchConfig(samples=24, iterations=2, elites=6))
        end_m = reach(draw_reach(32_001), world, np.random.default_rng(0))
    finally:
        torch.set_num_threads(threads)
    assert end_m < REACHED_M


def test_without_weights_both_ways_to_get_some_are_named() -> None:
    with pytest.raises(ValueError, match=r"training arm BAG.*weights:=simulated"):
        load_world_model("arm", device="cpu")
