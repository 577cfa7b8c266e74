"""V-JEPA 2-AC as a back-end: poses, imagined rollouts and plans equal to the reference implementation's, within a deadline.

The reference's figures in `resources/golden_jepa.json` come from facebookresearch/vjepa2 (`notebooks/utils/mpc_utils.py`) on the weights of
`checkpoint_maker`, with the same noise: 60 candidates, 4 iterations, 10 elites, momentum 0.15, steps of at most 0.05 m.
"""

import json
import math
from dataclasses import replace
from pathlib import Path

import checkpoint_maker as maker
import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="transformers is not installed: pip install 'jepa_ros[hub]'")

from paths import RESOURCES

from jepa_ros.backends import load_world_model
from jepa_ros.backends.actions import ActionImaginer, ActionPlanner
from jepa_ros.backends.convert import convert_vjepa2_ac
from jepa_ros.backends.vjepa2_ac.poses import advance, difference, euler_of, matrix_of
from jepa_ros.backends.vjepa2_ac.rollout import Imagination, normalised
from jepa_ros.backends.vjepa2_ac.screening import Screen
from jepa_ros.backends.vjepa2_ac.search import ScoreAll, Scorer, SearchConfig, search

GOLDEN = json.loads((RESOURCES / "golden_jepa.json").read_text())
PATCHES = (maker.IMAGE // maker.PATCH) ** 2
STATES = torch.stack([maker.wave((7,), float(i)) for i in range(4)])
STATE = np.array([[0.3, -0.1, 0.4, 3.0, 0.2, -1.0, 0.6]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("vjepa2_ac")
    convert_vjepa2_ac(maker.save_vjepa2_ac(out / "ac.pt"), out, heads=maker.HEADS)
    return out


@pytest.fixture(scope="module")
def model(folder):
    return load_world_model("vjepa2_ac", device="cpu", weights=str(folder))


def latent(phase: float) -> torch.Tensor:
    return normalised(maker.wave((PATCHES, maker.WIDTH), phase))


def test_poses_move_as_in_the_reference():
    np.testing.assert_allclose(advance(STATES, STATES.flip(0)).flatten(), GOLDEN["ac_pose_after"], atol=1e-5)
    np.testing.assert_allclose(difference(STATES[:-1], STATES[1:]).flatten(), GOLDEN["ac_pose_difference"], atol=1e-5)


@pytest.mark.parametrize("pitch", [math.pi / 2, -math.pi / 2, 1.2])
def test_angles_mean_the_same_rotation_also_in_gimbal_lock(pitch):
    rotation = matrix_of(torch.tensor([0.4, pitch, -0.9], dtype=torch.float64))
    torch.testing.assert_close(matrix_of(euler_of(rotation)), rotation, atol=1e-6, rtol=0)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_plan_and_its_energy_equal_the_reference(model, steps, monkeypatch):
    monkeypatch.setattr(model, "search", replace(model.search, samples=60, iterations=4))
    plan = model.plan_actions(latent(1.0)[None], STATE, latent(1.4), steps)
    np.testing.assert_allclose(plan.actions_LA.flatten(), GOLDEN[f"ac_plan_{steps}"], atol=1e-4)
    assert plan.energy == pytest.approx(GOLDEN[f"ac_plan_energy_{steps}"][0], abs=1e-4)


@torch.inference_mode()
def test_the_shared_past_is_used_and_changes_nothing(model):
    """A rollout from three seen steps, by the cached context and by the plain predictor over the whole sequence."""
    latents_TPD, states_T7 = torch.stack([latent(phase) for phase in (1.0, 1.1, 1.2)]), STATES[:3]
    action_B7 = 0.05 * maker.wave((2, 7), 5.0)
    imagined = Imagination(model._predictor, latents_TPD, states_T7).rollout(action_B7[:, None])[:, 0]
    past_T7 = difference(states_T7[:-1], states_T7[1:])
    for action_7, one_PD in zip(action_B7, imagined, strict=True):
        whole = model._predictor(latents_TPD[None], torch.cat([past_T7, action_7[None]])[None], states_T7[None])
        torch.testing.assert_close(one_PD, normalised(whole[0, -1]), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(imagined, Imagination(model._predictor, latents_TPD[-1:], states_T7[-1:]).rollout(action_B7[:, None])[:, 0])


def test_a_deadline_is_kept_and_an_impossible_one_said(model):
    assert isinstance(model, ActionPlanner)
    question = latent(1.0)[None], STATE, latent(1.4), 1
    assert np.isfinite(model.plan_actions(*question, deadline_s=1.0).energy)
    with pytest.raises(TimeoutError, match="too near"):
        model.plan_actions(*question, deadline_s=1e-4)


def test_a_state_of_another_shape_is_refused(model):
    with pytest.raises(ValueError, match="1 x 7 finite values"):
        model.plan_actions(latent(1.0)[None], np.zeros((1, 3)), latent(1.4))


def test_candidates_are_imagined_as_one_by_one_and_of_grips_nothing_is_said(model, monkeypatch):
    assert isinstance(model, ActionImaginer)
    monkeypatch.setattr("jepa_ros.backends.vjepa2_ac.model.batch_size", lambda *_: 2)
    actions = torch.stack([0.05 * maker.wave((2, 7), float(i)) for i in range(3)])
    told = model.imagine_actions(latent(1.0)[None], STATE, actions)
    state = torch.tensor(STATE, dtype=torch.float32)
    for action, seen in zip(actions, told.latents_SLND, strict=True):
        alone = Imagination(model._predictor, latent(1.0)[None], state).rollout(action[None])[0]
        torch.testing.assert_close(seen, alone, atol=1e-5, rtol=1e-4)
    assert told.hold_SL is None
    with pytest.raises(ValueError, match="1 to 8 steps"):
        model.imagine_actions(latent(1.0)[None], STATE, torch.zeros(1, 9, 7))
    with pytest.raises(ValueError, match="1 x 7 finite values"):
        model.imagine_actions(latent(1.0)[None], STATE[:, :6], actions)


def test_a_folder_that_is_not_whole_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json, encoder\.safetensors"):
        load_world_model("vjepa2_ac", device="cpu", weights=str(tmp_path))
    for name in ("config.json", "encoder.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "predictor.safetensors").write_bytes((folder / "predictor.safetensors").read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"predictor.safetensors is not a safetensors file"):
        load_world_model("vjepa2_ac", device="cpu", weights=str(tmp_path))


def bowl(actions_BL7: torch.Tensor) -> torch.Tensor:
    """Smooth, not quadratic, lowest inside the limits."""
    x = actions_BL7[:, 0, [0, 1, 2, 6]] * torch.tensor([20.0, 20.0, 20.0, 1.3])
    return 0.7 + 0.01 * (1.0 + (x - torch.tensor([0.3, -0.5, 0.1, 0.4])).square().sum(1)).sqrt() + 0.002 * x.prod(1)


def rough(actions_BL7: torch.Tensor) -> torch.Tensor:
    """Neighbours tell nothing."""
    return 0.7 + 0.01 * (1e6 * actions_BL7.sum((1, 2))).sin()


@pytest.mark.parametrize(
    ("energy", "iterations", "share"), [(bowl, 4, (0.01, 0.25)), (rough, 1, (0.9, 1.0))], ids=["smooth energies", "rough ones"]
)
def test_screening_finds_what_predicting_all_finds_and_predicts_few_where_it_can(energy, iterations, share):
    config = SearchConfig(iterations=iterations, samples=300)
    every, few = Scorer(energy, 16), Scorer(energy, 16)
    whole, screened = search(every, ScoreAll(every), 1, config), search(few, Screen(few), 1, config)
    torch.testing.assert_close(screened.actions_L7, whole.actions_L7, atol=1e-6, rtol=0)
    assert share[0] <= screened.predicted / whole.predicted <= share[1]
