"""Starts a narrow scene_jepa from a wide one: in each layer it keeps the channels from which the others can be reconstructed best.

Which channels of a layer go is found from the second moments of what they say on real inputs, those first whose loss the rest makes good
best; what reads them is then fitted anew by least squares (channel pruning after He et al. 2017, chosen as in Optimal Brain Surgeon).
Each layer is fitted to what the wide network says, on what the narrow one has made of its input so far, so that errors do not pile up.
Axes: N sample, F feature, M output, C channel, Y row, X column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_ros.backends.scene_jepa.blocks import ResBlock
from jepa_ros.backends.scene_jepa.config import SceneJepaConfig
from jepa_ros.backends.scene_jepa.encoder import SceneEncoder, SceneInput
from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.backends.scene_jepa.predictor import ScenePredictor

RIDGE = 1e-4  # of the features' mean square


@dataclass(frozen=True)
class Examples:
    """What a predictor is fitted on, the same instants in all."""

    histories_BTDYX: list[Tensor]  # aligned latents, by the narrow encoder
    wide_histories_BTDYX: list[Tensor]  # the same by the wide one
    actions_BHA: list[Tensor]


def narrowed_encoder(wide: SceneJepa, config: SceneJepaConfig, scenes: list[SceneInput]) -> SceneJepa:
    """A model of `config` whose encoder does as that of `wide`; its other parts are yet untrained."""
    narrow = SceneJepa(config, f"{wide.spec.version}+narrow").eval().requires_grad_(False)
    old, new = wide.encoder, narrow.encoder
    _copy_where_equal(old, new)
    inputs = [_entering(scene) for scene in scenes]
    stem_old = [F.relu(old.stem[0](x)) for x in inputs]
    stem_old, stem_new = _narrow_block(old.stem[2], new.stem[2], stem_old, stem_old)
    coarse_old, coarse_new = (
        [_with_camera(wide.encoder, wide.encoder.down(x), scene) for x, scene in zip(fine, scenes, strict=True)]
        for fine in (stem_old, stem_new)
    )
    for old_block, new_block in zip(old.body, new.body, strict=True):
        coarse_old, coarse_new = _narrow_block(old_block, new_block, coarse_old, coarse_new)
    fine_old = [fine + old.up(x) for fine, x in zip(stem_old, coarse_old, strict=True)]
    fine_new = [fine + old.up(x) for fine, x in zip(stem_new, coarse_new, strict=True)]
    _narrow_block(old.head[0], new.head[0], fine_old, fine_new)
    return narrow


def narrow_predictor(wide: SceneJepa, narrow: SceneJepa, examples: Examples) -> None:
    """Gives `narrow` a predictor and an occupancy probe that do as those of `wide`."""
    old, new = wide.predictor, narrow.predictor
    _copy_where_equal(old, new)
    past = narrow.config.history - 1
    read_old, read_new = (
        [torch.cat([h[:, :past, : model.config.remembered].flatten(1, 2), h[:, -1]], dim=1) for h in histories]
        for model, histories in ((wide, examples.wide_histories_BTDYX), (narrow, examples.histories_BTDYX))
    )
    x_old = [old.stem[0](read) for read in read_old]
    if narrow.config.remembered != wide.config.remembered:
        _fill(new.stem[0], *_Moments(read_new, x_old, 3, stride=2).solve(list(range(read_new[0].shape[1]))))
    x_new = [new.stem[0](read) for read in read_new]
    for old_block, new_block in zip([*old.stem][1:], [*new.stem][1:], strict=True):
        x_old, x_new = _narrow_block(old_block, new_block, x_old, x_new)
    coarse_old, coarse_new = ([old.coarse[0](x) for x in xs] for xs in (x_old, x_new))
    for old_block, new_block in zip([*old.coarse][1:-1], [*new.coarse][1:-1], strict=True):
        coarse_old, coarse_new = _narrow_block(old_block, new_block, coarse_old, coarse_new)
    x_old = [x + old.coarse[-1](c) for x, c in zip(x_old, coarse_old, strict=True)]
    x_new = [x + old.coarse[-1](c) for x, c in zip(x_new, coarse_new, strict=True)]
    for old_block, new_block in zip([*old.fine][:-2], [*new.fine][:-2], strict=True):
        x_old, x_new = _narrow_block(old_block, new_block, x_old, x_new)
    _narrow_steps(old, new, [old.fine[-2:](x) for x in x_old], [old.fine[-2:](x) for x in x_new], examples.actions_BHA)
    _narrow_probe(wide, narrow, examples)


def _narrow_steps(
    old: ScenePredictor, new: ScenePredictor, shared_old: list[Tensor], shared_new: list[Tensor], actions: list[Tensor]
) -> None:
    """The part that each step has to itself, of fewer channels on its way in and inside."""
    steps = torch.arange(old.config.horizon)

    def entering(shared_BCYX: Tensor, actions_BHA: Tensor) -> Tensor:
        scale, shift = old.motion(actions_BHA, steps, shared_BCYX.dtype)
        footprint = old.footprint(old.render(actions_BHA, steps, shared_BCYX.shape[-2:]).flatten(0, 1))
        conditioned = shared_BCYX[:, None] * (1 + scale[..., None, None]) + shift[..., None, None]
        return F.relu(conditioned.flatten(0, 1) + footprint)

    convolution: Any = old.step[0]
    project: Any = old.step[2].project
    last_shared: Any = old.fine[-1]
    into_when: Any = old.when[2]
    into_old = [entering(*pair) for pair in zip(shared_old, actions, strict=True)]
    into_new = [entering(*pair) for pair in zip(shared_new, actions, strict=True)]
    between = [convolution(x) for x in into_old]
    count = new.config.step
    kept, weight, bias = _select(into_new, between, count, patch=3)
    _fill(new.fine[-1], last_shared.weight[kept], last_shared.bias[kept])
    both = [*kept, *(k + old.config.step for k in kept)]
    _fill(new.when[2], into_when.weight[both], into_when.bias[both])
    new.footprint.weight.copy_(old.footprint.weight[kept])
    hidden = [F.relu(F.conv2d(x[:, kept], weight, bias, padding=1)) for x in into_new]
    inner, out_weight, out_bias = _select(hidden, [project(F.relu(x)) for x in between], count, patch=1)
    _fill(new.step[0], weight[inner], bias[inner])
    _fill(new.step[2].project, out_weight, out_bias)


def _narrow_probe(wide: SceneJepa, narrow: SceneJepa, examples: Examples) -> None:
    """Fewer hidden channels."""
    steps = torch.arange(0, wide.config.horizon, 3)
    old, new = wide.occupancy_probe, narrow.occupancy_probe
    latents = []
    for history, actions in zip(examples.histories_BTDYX, examples.actions_BHA, strict=True):
        predicted = wide.predictor(history.clone(), actions, steps)
        latents.append(torch.cat([history[:, -1:], predicted], dim=1).flatten(0, 1)[:, : old.width])
    new.load_state_dict({**new.state_dict(), **{f"direct.{key}": value for key, value in old.direct.state_dict().items()}})
    hidden = [F.relu(old.layers[0](x)) for x in latents]
    kept, weight, bias = _select(hidden, [old.layers[2](x) for x in hidden], narrow.config.probe, patch=1)
    first: Any = old.layers[0]
    _fill(new.layers[0], first.weight[kept], first.bias[kept])
    _fill(new.layers[2], weight, bias)


def _narrow_block(old: nn.Module, new: nn.Module, x_old: list[Tensor], x_new: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Fits one residual block; returns what both make of their inputs."""
    assert isinstance(old, ResBlock)
    assert isinstance(new, ResBlock)
    out_old = [old(x) for x in x_old]
    new.norm.load_state_dict(old.norm.state_dict())
    hidden = [F.relu(old.first(old.norm(x))) for x in x_new]
    left = [wanted - x for wanted, x in zip(out_old, x_new, strict=True)]
    kept, weight, bias = _select(hidden, left, new.first.out_channels, patch=3)
    first: Any = old.first
    _fill(new.first, first.weight[kept], first.bias[kept])
    _fill(new.second, weight, bias)
    return out_old, [new(x) for x in x_new]


def _fill(layer: Any, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


def _select(inputs: list[Tensor], outputs: list[Tensor], count: int, patch: int) -> tuple[list[int], Tensor, Tensor]:
    """Which `count` channels of the inputs to keep, and (M, C, patch, patch) weights and (M,) bias of a convolution that gives the outputs
    from those."""
    moments = _Moments(inputs, outputs, patch)
    kept = moments.select(count)
    return kept, *moments.solve(kept)


class _Moments:
    """Second moments of a convolution's input patches, a constant last, and of them with its outputs."""

    def __init__(self, inputs: list[Tensor], outputs: list[Tensor], patch: int, stride: int = 1) -> None:
        self._channels, self._patch = inputs[0].shape[1], patch
        features = self._channels * patch**2 + 1
        self._square = torch.zeros(features, features, dtype=torch.float64)
        self._with_output = torch.zeros(features, outputs[0].shape[1], dtype=torch.float64)
        for x, y in zip(inputs, outputs, strict=True):
            for one, wanted in zip(x.split(4), y.split(4), strict=True):
                patches_NF = F.unfold(one, patch, padding=patch // 2, stride=stride).transpose(1, 2).flatten(0, 1)
                wanted_NM = wanted.flatten(2).transpose(1, 2).flatten(0, 1)
                features_NF = torch.cat([patches_NF, patches_NF.new_ones(len(patches_NF), 1)], dim=1)
                self._square += (features_NF.T @ features_NF).double()
                self._with_output += (features_NF.T @ wanted_NM).double()
        self._square.diagonal().add_(RIDGE * self._square.diagonal().mean())

    def select(self, count: int) -> list[int]:
        """The channels that are left when, one after the other, that one goes whose loss costs least."""
        left = list(range(self._channels))
        inverse, size = torch.linalg.inv(self._square), self._patch**2
        weights = inverse @ self._with_output
        while len(left) > count:
            n = len(left)
            blocks = inverse[:-1, :-1].unflatten(0, (n, size)).unflatten(2, (n, size)).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
            of_each = weights[:-1].unflatten(0, (n, size))
            cost = (of_each * torch.linalg.solve(blocks, of_each)).sum(dim=(1, 2))
            worst = int(cost.argmin())
            gone = torch.arange(worst * size, (worst + 1) * size)
            rest = torch.cat([torch.arange(worst * size), torch.arange((worst + 1) * size, len(inverse))])
            factor = torch.linalg.solve(inverse[gone][:, gone], inverse[gone][:, rest])
            weights = weights[rest] - factor.T @ weights[gone]
            inverse = inverse[rest][:, rest] - inverse[rest][:, gone] @ factor
            del left[worst]
        return left

    def solve(self, channels: list[int]) -> tuple[Tensor, Tensor]:
        """(M, C, patch, patch) weights for these channels alone, and (M,) bias."""
        size = self._patch**2
        chosen = torch.tensor([*(c * size + place for c in channels for place in range(size)), len(self._square) - 1])
        weights_FM = torch.linalg.solve(self._square[chosen][:, chosen], self._with_output[chosen]).float()
        return weights_FM[:-1].T.unflatten(1, (len(channels), self._patch, self._patch)), weights_FM[-1]


def _entering(scene: SceneInput) -> Tensor:
    flag = scene.has_lidar_B[:, None, None, None].expand(-1, 1, *scene.pillars_BCYX.shape[2:])
    return torch.cat([scene.pillars_BCYX, flag], dim=1)


def _with_camera(encoder: SceneEncoder, coarse: Tensor, scene: SceneInput) -> Tensor:
    if not scene.images_BKCHW.shape[1]:
        return coarse
    return coarse + encoder.camera(encoder.camera.features(scene.images_BKCHW), scene.pixels_BKZYX2)


def _copy_where_equal(old: nn.Module, new: nn.Module) -> None:
    """All weights of the same name and shape."""
    known = old.state_dict()
    own = new.state_dict()
    new.load_state_dict({name: known[name] if name in known and known[name].shape == t.shape else t for name, t in own.items()})
