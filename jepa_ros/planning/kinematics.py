"""How a robot moves: commands in, states out. All limits hold by construction, so no cost term has to punish a violation.

Axes: S candidate, L step, U command, X state (x m, y m, yaw rad, speed m/s). Positions are in the planning frame (the planner uses the
anchor frame: small numbers, so float32 is exact to well under a millimetre). Tensors are kept step-major in memory and handed out as
S-first views: every operation below then runs over contiguous candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from jepa_ros.config import param, validate
from jepa_ros.protocols import Dynamics, Rollout
from jepa_ros.types import FloatArray

STANDSTILL_MPS = 1e-3


@dataclass(frozen=True)
class Limits:
    """What the vehicle can do."""

    max_speed_mps: float = param(1.5, "Highest speed of a plan, m/s", at_least=0.05, at_most=50.0)
    max_reverse_mps: float = param(0.0, "Highest speed backwards, m/s; 0 = it does not reverse", at_least=0.0, at_most=50.0)
    max_acceleration_mps2: float = param(1.0, "Highest acceleration, m/s^2", at_least=0.05, at_most=20.0)
    max_deceleration_mps2: float = param(2.5, "Highest deceleration, also of the braking fallback, m/s^2", at_least=0.05, at_most=20.0)
    max_yaw_rate_radps: float = param(1.2, "Highest turn rate, rad/s", at_least=0.01, at_most=10.0)
    max_lateral_acceleration_mps2: float = param(2.0, "Highest speed x turn rate, m/s^2", at_least=0.05, at_most=20.0)
    wheelbase_m: float = param(2.7, "Distance between the axles; bicycle kinematics only, m", at_least=0.1, at_most=20.0)
    max_steering_rad: float = param(0.55, "Largest steering angle; bicycle kinematics only, rad", at_least=0.01, at_most=1.5)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class LastPlan:
    """A plan that was to be followed."""

    begun_s: float  # stamp of its first state
    commands_LU: Tensor
    goal_m: FloatArray  # (2,) in odom, what it was for

    def rest(self, now_s: float, dt_s: float) -> Tensor | None:
        """(L, U) what is left of it, its end repeated; None before its beginning and after its end."""
        passed = round((now_s - self.begun_s) / dt_s)
        if not 0 <= passed < len(self.commands_LU):
            return None
        return torch.cat((self.commands_LU[passed:], self.commands_LU[-1:].expand(passed, -1)))


class Vehicle(Dynamics, Protocol):
    """What a planner must know of a robot besides its dynamics."""

    @property
    def turning_radius_m(self) -> float:
        """Of the smallest circle; 0 for what turns on the spot."""
        ...

    def turn_on_the_spot(self, angle_rad: float, steps: int) -> Tensor | None:
        """(L, U) commands; None for a vehicle that cannot."""
        ...


class Unicycle:
    """Differential drive: forward speed and yaw rate. It can turn on the spot; it reverses where `limits.max_reverse_mps` allows it.

    The commanded speed is the one reached at the end of a step; it changes linearly within it. The yaw rate holds for the whole step.
    An initial speed above the limit is no error: the robot slows down at the highest deceleration.
    """

    def __init__(self, limits: Limits, dt_s: float) -> None:
        if not dt_s > 0:
            raise ValueError(f"dt_s must be > 0 s, got {dt_s}")
        self.limits = limits
        self.dt_s = dt_s
        self.low_U = torch.tensor([-limits.max_reverse_mps, -limits.max_yaw_rate_radps])
        self.high_U = torch.tensor([limits.max_speed_mps, limits.max_yaw_rate_radps])

    def rollout(self, init_X: Tensor, commands_SLU: Tensor) -> Rollout:
        """(4,) or longer start (x, y, yaw, forward speed) and (S, L, 2) wishes -> what the vehicle does.

        The commands of the result are the wishes with all limits applied.
        """
        targets_LS = commands_SLU[..., 0].T.clamp(-self.limits.max_reverse_mps, self.limits.max_speed_mps).contiguous()
        slew = _slew_both_ways if self.limits.max_reverse_mps > 0.0 else _slew
        speed_LS = slew(targets_LS, init_X[3], self.limits.max_acceleration_mps2 * self.dt_s, self.limits.max_deceleration_mps2 * self.dt_s)
        before_LS = torch.cat((init_X[3].expand(1, speed_LS.shape[1]), speed_LS[:-1]))
        one_LS, other_LS = before_LS.abs(), speed_LS.abs()
        slowest_LS = torch.minimum(one_LS, other_LS)
        if self.limits.max_reverse_mps > 0.0:
            slowest_LS = slowest_LS.masked_fill(before_LS * speed_LS < 0.0, 0.0)  # it stands for a moment when it changes direction
        turn_limit_LS = self.turn_limit(slowest_LS, torch.maximum(one_LS, other_LS))
        yaw_rate_LS = torch.clamp(commands_SLU[..., 1].T, -turn_limit_LS, turn_limit_LS)
        yaw_LS = init_X[2] + self.dt_s * yaw_rate_LS.cumsum(0)
        middle_LS = yaw_LS - 0.5 * self.dt_s * yaw_rate_LS
        stride_LS = (0.5 * self.dt_s) * (before_LS + speed_LS)
        x_LS = init_X[0] + (stride_LS * middle_LS.cos()).cumsum(0)
        y_LS = init_X[1] + (stride_LS * middle_LS.sin()).cumsum(0)
        states_SLX = torch.stack((x_LS, y_LS, yaw_LS, speed_LS)).permute(2, 1, 0)
        return Rollout(states_SLX, torch.stack((speed_LS, yaw_rate_LS)).permute(2, 1, 0), self.dt_s)

    @property
    def turning_radius_m(self) -> float:
        return 0.0

    def turn_limit(self, slowest: Tensor, fastest: Tensor) -> Tensor:
        """Highest yaw rate, rad/s, for a step between two speeds: the vehicle's own, or what the lateral acceleration leaves."""
        lateral = self.limits.max_lateral_acceleration_mps2 / fastest.clamp(min=STANDSTILL_MPS)
        return lateral.clamp(max=self.limits.max_yaw_rate_radps)

    def guesses(self, init_X: Tensor, steps: int) -> Tensor:
        """(G, L, 2) motions worth a look in any scene: stop, and constant speeds on constant arcs, some after turning on the spot."""
        speeds = torch.tensor([1.0, 0.6, 0.25]) * self.high_U[0]
        turns = torch.tensor([0.0, 0.1, -0.1, 0.3, -0.3, 0.6, -0.6, 1.0, -1.0]) * self.high_U[1]
        arcs_GLU = torch.cartesian_prod(speeds, turns)[:, None].expand(-1, steps, 2)
        first_turn = []
        for angle in (-math.pi, -math.pi / 2, math.pi / 2, math.pi):
            motion_LU = _turn(angle, steps, 2, self.limits.max_yaw_rate_radps, self.dt_s)
            motion_LU[motion_LU[:, 1] == 0.0, 0] = self.high_U[0]
            first_turn.append(motion_LU)
        backwards = [_backwards(self.limits, steps)] if self.limits.max_reverse_mps > 0.0 else []
        return torch.cat((torch.zeros(1, steps, 2), arcs_GLU, torch.stack(first_turn), *backwards))

    def turn_on_the_spot(self, angle_rad: float, steps: int) -> Tensor | None:
        """(L, U) commands, standing still before and after; None for a vehicle that cannot."""
        return _turn(angle_rad, steps, 2, self.limits.max_yaw_rate_radps, self.dt_s)


class Bicycle(Unicycle):
    """Car-like: the turn rate is also bound by the steering angle, so it cannot turn on the spot.

    The yaw rate holds for a step while the speed changes: the steering is furthest over where the step is slowest.
    """

    @property
    def turning_radius_m(self) -> float:
        return self.limits.wheelbase_m / math.tan(self.limits.max_steering_rad)

    def turn_limit(self, slowest: Tensor, fastest: Tensor) -> Tensor:
        return torch.minimum(super().turn_limit(slowest, fastest), slowest / self.turning_radius_m)

    def turn_on_the_spot(self, angle_rad: float, steps: int) -> Tensor | None:
        return None


class Holonomic:
    """Omnidirectional: commands are vx, vy (body frame, m/s) and yaw rate. `init_X` may carry a fifth value, the speed to the left.

    The speed limit holds for the vector's length; the acceleration limits hold for its change in the body frame.
    """

    def __init__(self, limits: Limits, dt_s: float) -> None:
        if not dt_s > 0:
            raise ValueError(f"dt_s must be > 0 s, got {dt_s}")
        self.limits = limits
        self.dt_s = dt_s
        self.high_U = torch.tensor([limits.max_speed_mps, limits.max_speed_mps, limits.max_yaw_rate_radps])
        self.low_U = -self.high_U

    @property
    def turning_radius_m(self) -> float:
        return 0.0

    def rollout(self, init_X: Tensor, commands_SLU: Tensor) -> Rollout:
        """(4,) or (5,) start and (S, L, 3) wishes -> what the vehicle does; the state's speed is the length of the velocity."""
        targets_2LS = commands_SLU[..., :2].permute(2, 1, 0)
        targets_2LS = targets_2LS * _shrink(torch.hypot(*targets_2LS), self.limits.max_speed_mps)
        left = init_X[4] if init_X.numel() > 4 else init_X.new_zeros(())
        velocity_2S = torch.stack((init_X[3], left))[:, None].expand(2, targets_2LS.shape[2])
        start_2S = velocity_2S
        velocities = []
        for target_2S in targets_2LS.unbind(1):
            change_2S = target_2S - velocity_2S
            slower_S = torch.hypot(*target_2S) < torch.hypot(*velocity_2S)
            most_S = torch.where(slower_S, self.limits.max_deceleration_mps2, self.limits.max_acceleration_mps2) * self.dt_s
            velocity_2S = velocity_2S + change_2S * _shrink(torch.hypot(*change_2S), most_S)
            velocities.append(velocity_2S)
        velocity_2LS = torch.stack(velocities, 1)
        before_2LS = torch.cat((start_2S[:, None], velocity_2LS[:, :-1]), 1)
        # A turn bends the way of whatever is driven, forward or aside.
        fastest_LS = torch.maximum(torch.hypot(*before_2LS), torch.hypot(*velocity_2LS)).clamp(min=STANDSTILL_MPS)
        most_LS = (self.limits.max_lateral_acceleration_mps2 / fastest_LS).clamp(max=self.limits.max_yaw_rate_radps)
        yaw_rate_LS = torch.clamp(commands_SLU[..., 2].T, -most_LS, most_LS)
        yaw_LS = init_X[2] + self.dt_s * yaw_rate_LS.cumsum(0)
        middle_LS = yaw_LS - 0.5 * self.dt_s * yaw_rate_LS
        forward_LS, left_LS = (0.5 * self.dt_s) * (before_2LS + velocity_2LS)
        x_LS = init_X[0] + (forward_LS * middle_LS.cos() - left_LS * middle_LS.sin()).cumsum(0)
        y_LS = init_X[1] + (forward_LS * middle_LS.sin() + left_LS * middle_LS.cos()).cumsum(0)
        states_SLX = torch.stack((x_LS, y_LS, yaw_LS, torch.hypot(*velocity_2LS))).permute(2, 1, 0)
        return Rollout(states_SLX, torch.stack((*velocity_2LS, yaw_rate_LS)).permute(2, 1, 0), self.dt_s)

    def guesses(self, init_X: Tensor, steps: int) -> Tensor:
        """(G, L, 3): stop, and every eighth of the compass at two speeds."""
        angles = torch.arange(16) * (2.0 * math.pi / 16)
        directions_G3 = torch.stack((angles.cos(), angles.sin(), torch.zeros(16)), -1) * self.limits.max_speed_mps
        motions_G3 = torch.cat((torch.zeros(1, 3), directions_G3, 0.4 * directions_G3))
        return motions_G3[:, None].expand(-1, steps, 3).contiguous()

    def turn_on_the_spot(self, angle_rad: float, steps: int) -> Tensor | None:
        """(L, U) commands that only turn."""
        return _turn(angle_rad, steps, 3, self.limits.max_yaw_rate_radps, self.dt_s)


DYNAMICS: dict[str, Callable[[Limits, float], Vehicle]] = {"unicycle": Unicycle, "bicycle": Bicycle, "holonomic": Holonomic}


def limited(kinematics: str, limits: Limits, last: FloatArray, wanted: FloatArray, dt_s: float) -> FloatArray:
    """What a vehicle can do within dt_s of a wanted command (U,), after its last one: the first step of a motion.

    A vehicle that steers keeps to the curve that is wanted while its speed changes.
    """
    start, aim = last, torch.as_tensor(wanted, dtype=torch.float32)
    init_X = torch.tensor([0.0, 0.0, 0.0, start[0], start[1] if len(start) > 2 else 0.0], dtype=torch.float32)
    vehicle = DYNAMICS[kinematics](limits, max(dt_s, 1e-3))
    with torch.inference_mode():
        done_U = vehicle.rollout(init_X, aim[None, None]).commands_SLU[0, 0]
        if vehicle.turning_radius_m > 0.0 and abs(float(wanted[0])) > STANDSTILL_MPS:
            aim = torch.stack((aim[0], aim[1] * done_U[0] / aim[0]))
            done_U = vehicle.rollout(init_X, aim[None, None]).commands_SLU[0, 0]
    return done_U.double().numpy()


def _turn(angle_rad: float, steps: int, width: int, most_radps: float, dt_s: float) -> Tensor:
    """(L, U) a turn on the spot at the highest rate, as far as it gets in `steps`."""
    spin = min(steps, max(1, math.ceil(abs(angle_rad) / (most_radps * dt_s))))
    motion_LU = torch.zeros(steps, width)
    motion_LU[:spin, -1] = max(-most_radps, min(most_radps, angle_rad / (spin * dt_s)))
    return motion_LU


def _slew(targets_LS: Tensor, start: Tensor, most_up: float, most_down: float) -> Tensor:
    """Follow the targets with bounded change per step: a recurrence, so the loop is over steps, on rows of candidates."""
    reached_LS = torch.empty_like(targets_LS)
    previous_S = start.expand(targets_LS.shape[1])
    for target_S, reached_S in zip(targets_LS.unbind(0), reached_LS.unbind(0), strict=True):
        torch.clamp(target_S, previous_S - most_down, previous_S + most_up, out=reached_S)
        previous_S = reached_S
    return reached_LS


def _slew_both_ways(targets_LS: Tensor, start: Tensor, most_up: float, most_down: float) -> Tensor:
    """The same for speeds of either sign: slower at `most_down`, faster at `most_up`, and past zero the rest of the step."""
    reached_LS = torch.empty_like(targets_LS)
    previous_S = start.expand(targets_LS.shape[1])
    for target_S, reached_S in zip(targets_LS.unbind(0), reached_LS.unbind(0), strict=True):
        past_S = (1.0 - previous_S.abs() / most_down) * most_up  # what is left of the step after a halt, as a speed the other way
        slower_S = torch.where(past_S > 0.0, -past_S, previous_S.abs() - most_down)
        faster_S = previous_S.abs() + most_up
        forward_S = previous_S >= 0.0
        low_S, high_S = torch.where(forward_S, slower_S, -faster_S), torch.where(forward_S, faster_S, -slower_S)
        torch.clamp(target_S, low_S, high_S, out=reached_S)
        previous_S = reached_S
    return reached_LS


def _backwards(limits: Limits, steps: int) -> Tensor:
    """(G, L, 2) arcs backwards, and turns in two and three strokes: the heading turns the same way, the speed changes its sign."""
    motions = []
    for share in (1.0, 0.5):
        ahead, back = share * limits.max_speed_mps, -share * limits.max_reverse_mps
        for turn in (0.0, 0.3, -0.3, 1.0, -1.0):
            strokes = [[back]] if abs(turn) < 1.0 else [[back], [back, ahead], [ahead, back], [ahead, back, ahead], [back, ahead, back]]
            for speeds in strokes:
                which = torch.arange(steps) * len(speeds) // steps
                motions.append(torch.stack((torch.tensor(speeds)[which], torch.full((steps,), turn * limits.max_yaw_rate_radps)), -1))
    return torch.stack(motions)


def _shrink(length: Tensor, most: Tensor | float) -> Tensor:
    """Factor in (0, 1] that brings a vector of this length down to `most`."""
    return (most / length.clamp(min=1e-6)).clamp(max=1.0)
