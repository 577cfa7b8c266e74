"""The gripper's bench: imagination that is the planner's, probes that imagine nothing, carries and figures."""

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco")

from experiments.carry.carry import Carried, carry_evenly, carry_paced, carry_planned, draw_carry, fewest_steps
from experiments.carry.data import learnable
from experiments.carry.hold import IMAGINED, decided_by_motion, features_of, pixels_of, tell
from experiments.carry.probes import DeepProbe, LinearProbe, auroc
from experiments.carry.report import beside
from jepa_ros.backends.actions import ImaginedActions
from jepa_ros.backends.arm.file import ArmFacts, load, save
from jepa_ros.backends.arm.hold import scaled
from jepa_ros.backends.arm.model import ArmWorldModel
from jepa_ros.backends.arm.network import ArmModel, ArmModelConfig
from jepa_ros.backends.arm.plan import ArmPlanning, Quickest, proposals
from jepa_ros.sim.carry.episodes import episode
from jepa_ros.training.arm.hold import grips_of

TINY = ArmModelConfig(
    views=2,
    width=8,
    channels=8,
    predictor_width=24,
    predictor_depth=1,
    predictor_heads=2,
    members=2,
    hold_width=8,
    hold_grip=16,
    hold_step=8,
    hold_judges=1,
)
FACTS = ArmFacts(max_move_m=0.06, max_turn_rad=0.5, holds=True, cameras=("/camera", "/wrist"))


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def model() -> ArmModel:
    torch.manual_seed(0)
    model = ArmModel(TINY).eval().requires_grad_(False)
    for predictor in model.predictors:  # an untrained one says that nothing changes
        torch.nn.init.normal_(predictor.predictor_proj.weight, std=0.3)
    return model


@pytest.fixture(scope="module")
def few():
    from jepa_ros.sim.carry.episodes import Episodes

    ones = [episode(number, 4) for number in range(5)]
    return Episodes(*(np.stack([getattr(one, name) for one in ones]) for name in Episodes.__dataclass_fields__))


def test_weights_that_do_not_fit_are_refused(tmp_path, model):
    save(model, FACTS, tmp_path / "arm.safetensors")
    again, facts = load(tmp_path / "arm.safetensors")
    assert (again.config, facts) == (TINY, FACTS)
    torch.testing.assert_close(again.state_dict(), model.state_dict())
    del model.predictors[0].predictor_proj
    save(model, FACTS, tmp_path / "short.safetensors")
    with pytest.raises(ValueError, match=r"missing predictors\.0\.predictor_proj"):
        load(tmp_path / "short.safetensors")
    with pytest.raises(ValueError, match=r"none.safetensors does not exist; python -m jepa_ros.training arm"):
        load(tmp_path / "none.safetensors")


def test_the_planner_imagines_what_training_rolls(model, few):
    episodes = learnable(few)
    grips = grips_of(model, episodes)
    world = ArmWorldModel(model, FACTS)
    history = model.encode(torch.from_numpy(few.images[0, 1:3])).half().float()  # as training keeps them
    commanded = few.closing[0, 1] + few.actions[0, 1, 6]
    # The pose does not matter, only how it changed.
    states = np.array([
        [0.3, -0.2, 0.1, 0.5, 0.1, 0, few.closing[0, 1], few.closing[0, 1]], [0.3, -0.2, 0.1, 0.5, 0.1, 0, few.closing[0, 2], commanded]
    ])  # fmt: skip
    imagined = world.imagine_actions(history, states, torch.from_numpy(few.actions[0, 2:])[None])
    torch.testing.assert_close(imagined.latents_SLND[0], grips.imagined_MKLPD[0, 0], rtol=1e-3, atol=1e-3)


def test_proposals_stay_within_the_limits_and_lead_all_the_way():
    way = torch.tensor([0.05, -0.02, 0.13, 0.0, 0.1, 0.0, 0.1])
    found = proposals(way, 0, 6, FACTS, dead_grip=0.25)
    assert found.actions_SL7[..., :3].abs().max() <= FACTS.max_move_m + 1e-6
    assert int(found.steps_S.min()) == 3
    wanted = way.clone()
    wanted[6] = 0.0  # too small a change of the fingers
    torch.testing.assert_close(found.actions_SL7.sum(1), wanted.expand(len(found.steps_S), -1), rtol=1e-4, atol=1e-5)
    short = proposals(way, 1, 6, FACTS, dead_grip=0.25)
    torch.testing.assert_close(short.actions_SL7.sum(1)[0, 2], torch.tensor(0.06))


@pytest.mark.parametrize(("least", "steps"), [(0.0, 3), (0.5, 4), (0.7, 6)])
def test_the_quickest_way_that_holds_is_taken_without_a_search(least, steps):
    """A world that is known exactly: latents are places, and a grip holds the longer the smaller its largest move is."""
    goal = torch.tensor([0.05, -0.02, 0.13])

    def imagine(actions: torch.Tensor) -> ImaginedActions:
        hold = 1.0 - actions[:, :, :3].norm(dim=2).cummax(dim=1).values.double().numpy() / 0.08
        return ImaginedActions(actions[:, :, :3].cumsum(1)[:, :, None], hold, 0 * hold)

    way = scaled(torch.cat([goal, torch.zeros(4)]))
    plan = Quickest(imagine, goal[None], FACTS, 6, ArmPlanning()).plan(way, 0, 5.0, least)
    assert plan.message.endswith("imagined")
    assert "CEM" not in plan.message
    assert len(plan.actions_LA) == steps
    assert plan.hold_L[-1] >= least
    assert plan.energy < 1e-4


def test_an_imagination_that_is_wrong_does_not_lead_away_from_the_goal():
    """Predictors that learned little: they say that every motion leads away a little, near the goal as far from it."""
    goal = torch.tensor([0.004, 0.0, 0.0])

    def imagine(actions: torch.Tensor) -> ImaginedActions:
        way = actions[:, :, :3].cumsum(1)
        return ImaginedActions((0.1 * way + way.norm(dim=2, keepdim=True))[:, :, None], None, None)

    plan = Quickest(imagine, goal[None], FACTS, 6, ArmPlanning()).plan(scaled(torch.cat([goal, torch.zeros(4)])), 0, 5.0, 0.0)
    np.testing.assert_allclose(plan.actions_LA.sum(0)[:3], goal, atol=1e-6)


def test_a_goal_is_an_image_of_the_first_camera_alone(model):
    world = ArmWorldModel(model, FACTS)
    images = np.random.default_rng(3).integers(0, 255, (2, 64, 64, 3), np.uint8)
    now, goal = world.encode_images(images), world.encode_goal(images[0])
    torch.testing.assert_close(goal[..., :8], now[..., :8])
    assert not goal[..., 8:].any()
    with pytest.raises(ValueError, match="encode an image of every camera"):
        world.imagine_actions(goal, np.zeros((1, 8)), torch.zeros(1, 1, 7))
    with pytest.raises(ValueError, match="2 views and name 0 cameras"):
        ArmWorldModel(model, ArmFacts())


def test_what_is_asked_to_hold_is_no_quicker(model):
    world = ArmWorldModel(model, FACTS)
    rng = np.random.default_rng(2)
    now, goal = (world.encode_images(rng.integers(0, 255, (2, 64, 64, 3), np.uint8)) for _ in range(2))
    history, states = torch.cat([now, now]), np.zeros((1, 8))
    plan = world.plan_actions(history, states, goal[0])
    assert plan.hold_L is not None
    best = world.plan_holding(history, states, goal[0], min_hold=float(plan.hold_L[-1]) * 0.5)
    assert best.hold_L[-1] >= plan.hold_L[-1] * 0.5
    world.planning = ArmPlanning(propose=False)
    searched = world.plan_actions(history, states, goal[0], steps=3)
    still = world.imagine_actions(history, states, torch.zeros(1, 3, 7)).latents_SLND[0, -1]
    assert searched.energy < float((still - goal[0])[:, :8].abs().mean()), "the first camera's latents count"


def test_a_gentle_carry_keeps_what_a_quick_one_drops():
    carries = [draw_carry(60_000 + k) for k in range(8)]
    quick = [carry_evenly(carry, fewest_steps(carry)) for carry in carries]
    gentle = [carry_evenly(carry, 6) for carry in carries]
    assert sum(one.dropped for one in gentle) < sum(one.dropped for one in quick)
    assert all(one.distance_m < 0.01 for one in gentle)


def test_a_carry_that_does_not_hold_is_not_begun(model):
    carry = draw_carry(60_000)
    world = ArmWorldModel(model, FACTS, planning=ArmPlanning())
    assert carry_planned(carry, world, 0.0).steps > 0
    assert carry_paced(carry, world, 0.0).steps == fewest_steps(carry)
    assert carry_paced(carry, world, 1.0).steps == 6, "where nothing holds so surely, as gently as it goes"
    refused = carry_planned(carry, world, 1.0)
    assert (refused.steps, refused.dropped, refused.arrived) == (0, False, False)


def test_probes_see_what_they_are_named_after(model, few):
    episodes = learnable(few)
    grips = grips_of(model, episodes)
    pixels = pixels_of(episodes, grips)
    features = features_of(grips, pixels)
    now = features["latent of now"]
    assert torch.equal(now[0], now[1]), "two motions of one grip look the same before they begin"
    assert not torch.equal(features["the motion and the squeeze alone"][0], features["the motion and the squeeze alone"][1])
    assert decided_by_motion(np.array([True, False, True, True]), np.array([1, 1, 2, 2])) == 0.5
    told = tell(model, grips, grips, grips, dict.fromkeys(("train", "validation", "test"), pixels), few.grip)
    assert set(told.by) >= {IMAGINED, "latent of now", "a constant"}
    assert told.steps_KL.shape == told.held_KL.shape == (4, 6)


@pytest.mark.parametrize("kind", [LinearProbe, DeepProbe])
def test_a_probe_finds_the_feature_that_decides(kind):
    features = torch.randn(400, 30, generator=torch.Generator().manual_seed(0))
    positive = (features[:, 7] > 0.3).numpy()
    probe = kind(features[:300], positive[:300], 1e-2)
    assert auroc(probe.probability(features[300:]), positive[300:]) > 0.88


def test_a_pace_is_compared_at_equal_drops_and_at_equal_time():
    def carried(steps: list[int], dropped: str) -> list[Carried]:
        return [Carried(one, mark == "x", 0.0) for one, mark in zip(steps, dropped, strict=True)]

    fixed = {
        "always 2": carried([2] * 5, "xx.xx"),
        "always 4": carried([4] * 5, ".x..x"),
        "always 6": carried([6] * 5, "....x"),
    }
    told = beside(carried([3, 5, 0, 4, 4], "x...."), fixed)  # the third is not moved, so nothing of it counts
    assert told["drops"] == 1
    assert told["equal drops"]["at"] == "always 6"
    assert told["equal drops"]["time"][0] == pytest.approx(16 / 24, abs=1e-3)
    assert told["equal time"] == {"at": "always 4", "theirs": 2, "only ours, only theirs": [1, 2]}
    assert set(beside(carried([0] * 5, "....."), fixed)) == {"drops"}
