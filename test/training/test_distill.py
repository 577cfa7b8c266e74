"""A narrower scene_jepa: which channels stay, what they are fitted to, and that the training goes on where it was stopped."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from test_training import TINY, write_drive

from experiments.world_model import learned_channels
from jepa_ros.backends.scene_jepa.blocks import ResBlock
from jepa_ros.backends.scene_jepa.model import SceneJepa, load, save
from jepa_ros.training.world_model import channel_pruning, distill, distillation_data
from jepa_ros.training.world_model.distill import DistillConfig

WIDE = dataclasses.replace(TINY, stem=8, body=8, camera=4, trunk=8, step=8)
CONFIG = DistillConfig(encoder_steps=1, stored=2, steps=4, fitted=1, batch=1, targets=1, step=4, probe=4, checkpoint_every=2, bf16=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_drive(root / "drive")
    return root


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> SceneJepa:
    torch.manual_seed(0)
    model = SceneJepa(WIDE, "wide")
    for parameter in model.parameters():  # a new one predicts that nothing changes, which anything could learn
        torch.nn.init.normal_(parameter, std=0.1)
    path = tmp_path_factory.mktemp("weights") / "wide.safetensors"
    save(model, path, "wide", {})
    return load("cpu", path)


@torch.no_grad()
def test_channels_that_others_stand_for_go_without_a_loss() -> None:
    torch.manual_seed(0)
    old, new = ResBlock(8), ResBlock(8, narrow=2)
    torch.nn.init.normal_(old.second.weight)
    for weight in (old.first.weight, old.first.bias):
        weight[4:] = 2 * weight[:4]  # the second half says twice what the first says
    x = [torch.randn(2, 8, 12, 12)]
    wanted, found = channel_pruning._narrow_block(old, new, x, x)
    assert F.mse_loss(found[0], wanted[0]) < 1e-4 * (wanted[0] - x[0]).square().mean()


@torch.no_grad()
def test_what_is_left_is_chosen_and_fitted_better_than_by_leaving_the_rest_out() -> None:
    torch.manual_seed(0)
    old, new = ResBlock(8), ResBlock(8, narrow=2)
    torch.nn.init.normal_(old.second.weight, std=0.1)
    old.second.weight[:, :4] *= 0.1  # the last four matter
    x = [torch.randn(2, 8, 12, 12)]
    wanted, found = channel_pruning._narrow_block(old, new, x, x)
    torch.testing.assert_close(new.first.weight, old.first.weight[4:])
    cut = ResBlock(8, narrow=2)
    cut.norm, cut.first = old.norm, new.first
    cut.second.weight.copy_(old.second.weight[:, 4:])
    cut.second.bias.copy_(old.second.bias)
    assert F.mse_loss(found[0], wanted[0]) < 0.9 * F.mse_loss(cut(x[0]), wanted[0])


def test_a_model_that_is_not_narrowed_stays_what_it_is(data: Path, wide: SceneJepa, tmp_path: Path) -> None:
    same = dataclasses.replace(CONFIG, narrow=1, step=WIDE.step, probe=WIDE.probe, recall=True, encoder_steps=0)
    windows = distill.open_windows(wide, data, same)
    narrow = distill.begin(wide, windows, tmp_path, same)
    (batch,) = distillation_data.batches(windows, 5, 6)
    found = distillation_data.tell(wide, narrow, batch)
    torch.testing.assert_close(narrow.predictor(found.history_BTDYX, found.actions_BHA, found.steps_S), found.wide_BSDYX,
                               rtol=0.02, atol=0.02)  # fmt: skip


def test_a_narrowed_model_can_be_narrowed_again(data: Path, wide: SceneJepa, tmp_path: Path) -> None:
    windows = distill.open_windows(wide, data, CONFIG)
    once = distill.begin(wide, windows, tmp_path, CONFIG)  # reads less of older steps, and has a shorter trunk
    (tmp_path / "again").mkdir()
    twice = distill.begin(once, windows, tmp_path / "again", dataclasses.replace(CONFIG, narrow=4, encoder_steps=0))
    (batch,) = distillation_data.batches(windows, 5, 6)
    found = distillation_data.tell(once, twice, batch)
    predicted = twice.predictor(found.history_BTDYX, found.actions_BHA, found.steps_S)
    nothing_changes = found.history_BTDYX[:, -1:].expand_as(found.wide_BSDYX)
    assert F.mse_loss(predicted, found.wide_BSDYX) < F.mse_loss(nothing_changes, found.wide_BSDYX)


def test_what_learned_channels_are_worth_is_trained_and_judged_with_and_without_them(data: Path, wide: SceneJepa, tmp_path: Path) -> None:
    windows = distill.open_windows(wide, data, CONFIG)
    narrow = distill.begin(wide, windows, tmp_path, CONFIG)
    distill.store(wide, narrow, windows, tmp_path, CONFIG)
    older, now = torch.randn(1, narrow.config.history - 1, WIDE.width, 64, 64), torch.randn(1, WIDE.width, 64, 64)
    read = learned_channels.observed_alone(load("cpu", tmp_path / "begun.safetensors")).predictor.read(older, now)
    hidden = narrow.config.width - narrow.config.grounded
    torch.testing.assert_close(read[:, :-hidden], narrow.predictor.read(older, now)[:, :-hidden])
    assert not read[:, -hidden:].any()

    found = learned_channels.compare(tmp_path, [data], tmp_path / "out", CONFIG, seeds=1, every=3)
    ((of_data, metrics),) = found.items()
    assert of_data == data.name
    assert all(len(values) == 2 for of in metrics.values() for (values,) in of.values())  # 0.4 and 1.2 s
    heads = {name: load("cpu", tmp_path / "out" / f"{name}_0" / "scene_jepa.safetensors").occupancy_head for name in ("with", "without")}
    reads_learned = {name: bool(head.direct.weight[:, -hidden:].any()) for name, head in heads.items() if head is not None}
    assert reads_learned == {"with": True, "without": False}  # it begins with zeros there, and what is hidden gives no gradient
    assert "lost without" in learned_channels.markdown(found)


def test_what_was_told_is_read_as_it_was_written(data: Path, wide: SceneJepa, tmp_path: Path) -> None:
    (batch,) = distillation_data.batches(distill.open_windows(wide, data, CONFIG), 0, 1)
    found = distillation_data.tell(wide, wide, batch)
    distillation_data.write(tmp_path / "0.pt", found)
    again = distillation_data.Stored(tmp_path, 0)[7]
    for field in dataclasses.fields(distillation_data.DistillationBatch):
        torch.testing.assert_close(getattr(again, field.name), getattr(found, field.name), rtol=1e-3, atol=1e-3)


def test_a_stopped_run_goes_on_and_ends_as_an_unbroken_one(data: Path, wide: SceneJepa, tmp_path: Path) -> None:
    windows = distill.open_windows(wide, data, CONFIG)
    narrow = distill.begin(wide, windows, tmp_path, CONFIG)
    encoder = {name: tensor.clone() for name, tensor in narrow.encoder.state_dict().items()}
    distill.store(wide, narrow, windows, tmp_path, CONFIG)
    unbroken = {name: tensor.clone() for name, tensor in distill.learn(narrow, tmp_path, CONFIG).state_dict().items()}
    assert all(torch.equal(unbroken[f"encoder.{name}"], tensor) for name, tensor in encoder.items())
    assert any(not torch.equal(tensor, load("cpu", tmp_path / "begun.safetensors").state_dict()[name]) for name, tensor in unbroken.items())

    half_way = tmp_path / "half"
    half_way.mkdir()
    (half_way / "told").symlink_to(tmp_path / "told")
    begun = distill.begin(wide, windows, tmp_path, CONFIG)
    distill.learn(begun, half_way, CONFIG, stop_after=2)
    resumed = distill.learn(distill.begin(wide, windows, tmp_path, CONFIG), half_way, CONFIG).state_dict()
    for name, tensor in unbroken.items():
        torch.testing.assert_close(resumed[name], tensor)
