"""The head of holding: what it learns of grips, and that what it says is a probability."""

import numpy as np
import pytest
import torch
from test_training_arm import TINY

from jepa_ros.backends.arm.network import GRID, ArmModel
from jepa_ros.training.arm.hold import Grips, fit_hold, hold_probability
from jepa_ros.training.metrics import auroc

STEPS, ACTION = 4, 7


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jepa_ros.training.arm.hold.STEPS", 200)


def made_up(count: int, generator: torch.Generator) -> tuple[Grips, torch.Tensor]:
    """Grips that hold while a number of their latent, one of the least, is more than what the hardest step so far asks."""

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    tokens, width = GRID**2, TINY.latent_width
    grip = normal(count, 2, tokens, width)
    strength = grip[:, 1, 3, 2].clone()
    grip[:, 1, 3, 2] *= 0.05
    actions = torch.zeros(count, STEPS, ACTION)
    actions[..., 2] = 0.05 * torch.rand(count, STEPS, generator=generator)
    hardest = actions[..., 2].cummax(dim=1).values
    held = (strength[:, None] > 40.0 * (hardest - 0.04)).long()
    imagined = grip[None, :, 1:].expand(TINY.members, -1, STEPS, -1, -1)
    squeeze = torch.full((count, 2), 0.5) + torch.tensor([0.0, 0.1])
    return Grips(grip, imagined[0], imagined, actions, squeeze, held, torch.arange(count)), strength


def test_what_one_number_in_hundreds_shows_is_found_and_told_as_a_probability() -> None:
    generator = torch.Generator().manual_seed(0)
    (train, _), (validation, _), (test, strength) = (made_up(count, generator) for count in (800, 300, 400))
    model = ArmModel(TINY)
    fit_hold(model, train, validation)
    told = hold_probability(model, test)[0]
    assert (told.diff(dim=1) <= 1e-6).all(), "a grip that is lost does not come back"
    end, held = told[:, -1].numpy(), test.outcome_KL[:, -1].numpy() == 1
    assert auroc(end[held], end[~held]) > 0.95
    judges = ArmModel(TINY)
    judges.load_state_dict(model.state_dict())
    judges.hold.scale.copy_(torch.tensor([1.0, 0.0]))
    alone = hold_probability(judges, test)[0][:, -1].numpy()
    assert auroc(alone[held], alone[~held]) < auroc(end[held], end[~held]) - 0.05, "the judges see the largest directions alone"
    for part in np.array_split(end.argsort(), 3):
        assert abs(end[part].mean() - held[part].mean()) < 0.1
    firm, soft = told[strength > 0.5].mean(), told[strength < -0.5].mean()
    assert firm > soft + 0.3


def test_few_grips_do_not_teach_a_line_their_noise() -> None:
    """Outcomes that nothing shows: what is told stays near to how many hold."""
    generator = torch.Generator().manual_seed(1)
    (train, _), (validation, _), (test, _) = (made_up(60, generator) for _ in range(3))
    for grips in (train, validation, test):
        grips.outcome_KL[:] = (torch.rand(len(grips), 1, generator=generator) < 0.6).long()
    model = ArmModel(TINY)
    fit_hold(model, train, validation)
    told = hold_probability(model, test)[0][:, 0]
    assert abs(float(told.mean()) - 0.6) < 0.2
    assert float(told.std()) < 0.25
