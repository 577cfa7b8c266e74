"""How people give way to a robot: how far a motion of it moves them from where they would be without it.

Forecasts of people do not know what the robot is about to do. This network says, for a motion that is only imagined, how far each person
steps aside, waits or turns. It learned that from simulated crowds, each continued from one instant with robots that move differently and
with none. It is told apart from the forecasts: whether somebody will really give way nobody knows, so no plan relies on it.

Axes: S motion, L step of it, P person, K mode, T time, B a motion and a person, H step of a forecast, F feature.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from jepa_ros.objects.time_steps import HORIZON, STEP_S
from jepa_ros.planning.footprint import Footprint
from jepa_ros.planning.people import PeopleFuture
from jepa_ros.weights import filled, find_weights, read_weights

SHIPPED = "giving_way.safetensors"
FORMAT = "jepa_ros giving way 1"
WIDTH = 96
SCALE_M = 4.0
HARDLY = -4.0  # a softplus of it is .02 m
FAR_M = 8.0  # a robot that never comes so near moves nobody
SLOW_MPS = 0.1  # who is slower faces the robot
PERSON_M = 0.25  # radius of a person
EXISTS = 0.5  # probability from which a track is somebody
FEATURES = 3 * (HORIZON + 1) + 5


class GivingWay(nn.Module):
    """Starts as "hardly anybody gives way"."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, HORIZON))
        nn.init.constant_(self.layers[-1].bias, HARDLY)  # type: ignore[arg-type]

    def forward(self, people_B4: Tensor, robot_BH3: Tensor, size_B2: Tensor) -> Tensor:
        """(B, H) m by which each person is moved at the steps after now, on average.

        people_B4: x m, y m, velocity m/s. robot_BH3: x m, y m, yaw rad now and at each step, so one more than comes out. size_B2: of a
        capsule that stands for the robot: radius, and how far its middle line reaches ahead of its centre and behind it, m.
        """
        clear_BH, features_BF = _features(people_B4, robot_BH3, size_B2)
        near_B1 = (1.0 - clear_BH.amin(dim=1, keepdim=True) / FAR_M).clamp(min=0.0)
        return nn.functional.softplus(self.layers(features_BF)) * near_B1


@torch.inference_mode()
def moved(network: GivingWay, people: PeopleFuture, poses_SL3: Tensor, robot: Footprint | float, dt_s: float = STEP_S) -> Tensor:
    """(S, P, H) m by which each motion moves each person, at the steps of forecasts during which it lasts; 0 for cyclists, vehicles and
    tracks that are probably nobody.

    poses_SL3: in the frame of `people`, whose origin is the robot now, `dt_s` apart. A motion that ends sooner than forecasts do ends with
    the robot standing there. robot: a number is the radius of a disc, m.
    """
    motions, footprint = len(poses_SL3), Footprint.of(robot)
    robot_SH3, lasts = _at_forecast_steps(poses_SL3, dt_s)
    walks_P = ~people.boxed_P & (people.weights_PK.sum(dim=1) >= EXISTS)
    moved_SPH = torch.zeros(motions, len(walks_P), lasts)
    if not walks_P.any():
        return moved_SPH
    likeliest_PT2 = people.means_PKT2[torch.arange(len(walks_P)), people.weights_PK.argmax(dim=1)][walks_P]
    now_P2, next_P2 = likeliest_PT2[:, 0], likeliest_PT2[:, 1]
    people_P4 = torch.cat((now_P2, (next_P2 - now_P2) / (people.times_s[1] - people.times_s[0])), dim=1)
    size_2 = torch.tensor([footprint.narrow_m, max(footprint.reach_m - footprint.narrow_m, 0.0)])
    pairs = motions * len(people_P4)
    of_pairs = network(people_P4.repeat(motions, 1), robot_SH3.repeat_interleave(len(people_P4), dim=0), size_2.expand(pairs, 2))
    moved_SPH[:, walks_P] = of_pairs.unflatten(0, (motions, -1))[:, :, :lasts]
    return moved_SPH


def most_moved(network: GivingWay, people: PeopleFuture, poses_SL3: Tensor, robot: Footprint | float, dt_s: float = STEP_S) -> Tensor:
    """(S,) m: how far each motion moves the person whom it moves most; 0 where nobody is. Arguments as for `moved`."""
    moved_SPH = moved(network, people, poses_SL3, robot, dt_s)
    return moved_SPH.amax(dim=(1, 2)) if moved_SPH.shape[1] else torch.zeros(len(poses_SL3))


def _at_forecast_steps(poses_SL3: Tensor, dt_s: float) -> tuple[Tensor, int]:
    """(S, H + 1, 3) where the robot is now and at each step of a forecast, and during how many of these steps the motion lasts."""
    poses_SL3 = torch.cat((torch.zeros(len(poses_SL3), 1, 3), poses_SL3), dim=1)
    last = poses_SL3.shape[1] - 1
    place_H = (STEP_S / dt_s * torch.arange(HORIZON + 1, dtype=torch.float64)).clamp(max=last)
    before_H = (place_H + 1e-6).long().clamp(max=max(last - 1, 0))
    share_H1 = (place_H - before_H).float()[:, None]
    before, step = poses_SL3[:, before_H], poses_SL3[:, before_H + 1] - poses_SL3[:, before_H]
    step = torch.cat((step[..., :2], torch.remainder(step[..., 2:] + math.pi, 2 * math.pi) - math.pi), dim=-1)
    return before + share_H1 * step, min(HORIZON, math.ceil(last * dt_s / STEP_S - 1e-6))


def clearances(people_B4: Tensor, robot_BH3: Tensor, size_B2: Tensor) -> Tensor:
    """(B, H) m between each person, who keeps the velocity, and the robot, at each step."""
    return _clear(_gaps(people_B4, robot_BH3, size_B2), size_B2)


def _clear(gaps_BH2: Tensor, size_B2: Tensor) -> Tensor:
    return (gaps_BH2.norm(dim=-1) - size_B2[:, :1] - PERSON_M).clamp(min=0.0)


def _gaps(people_B4: Tensor, robot_BH3: Tensor, size_B2: Tensor) -> Tensor:
    """(B, H, 2) m from each person, who keeps the velocity, to the nearest point of the robot's middle line."""
    place_B2, velocity_B2 = people_B4.split(2, dim=1)
    times_H1 = STEP_S * torch.arange(HORIZON + 1, dtype=place_B2.dtype)[:, None]
    to_centre_BH2 = robot_BH3[..., :2] - place_B2[:, None] - velocity_B2[:, None] * times_H1
    line_BH2 = torch.stack((robot_BH3[..., 2].cos(), robot_BH3[..., 2].sin()), dim=-1)
    half_B11 = size_B2[:, None, 1:]
    along_BH1 = (to_centre_BH2 * line_BH2).sum(dim=-1, keepdim=True)
    return to_centre_BH2 - line_BH2 * torch.maximum(torch.minimum(along_BH1, half_B11), -half_B11)


def _features(people_B4: Tensor, robot_BH3: Tensor, size_B2: Tensor) -> tuple[Tensor, Tensor]:
    """(B, H) `clearances`, (B, F) what the network reads, in each person's own frame: x where the person walks, or where the robot is."""
    place_B2, velocity_B2 = people_B4.split(2, dim=1)
    speed_B1 = velocity_B2.norm(dim=1, keepdim=True)
    cos, sin = nn.functional.normalize(torch.where(speed_B1 > SLOW_MPS, velocity_B2, robot_BH3[:, 0, :2] - place_B2), dim=1).unbind(1)
    to_own_B22 = torch.stack((cos, -sin, sin, cos), dim=1).view(-1, 2, 2)
    gaps_BH2 = _gaps(people_B4, robot_BH3, size_B2) @ to_own_B22
    clear_BH = _clear(gaps_BH2, size_B2)
    robot_velocity_B12 = (robot_BH3[:, 1:2, :2] - robot_BH3[:, :1, :2]) / STEP_S @ to_own_B22
    parts = ((gaps_BH2 / SCALE_M).flatten(1), torch.exp(-clear_BH), speed_B1, robot_velocity_B12[:, 0], size_B2)
    return clear_BH, torch.cat(parts, dim=1)


def save(network: GivingWay, path: str | Path, facts: dict[str, object]) -> None:
    """With facts of the training (JSON)."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, path, {"format": FORMAT, "training": json.dumps(facts)})


def load(path: str | Path | None = None) -> GivingWay:
    """By default the shipped weights. Raises ValueError saying what does not fit."""
    path, fix = path or find_weights(SHIPPED), "train it: python -m jepa_ros.training giving_way"
    _, tensors = read_weights(path, FORMAT, fix)
    return filled(GivingWay(), tensors, path, fix)
