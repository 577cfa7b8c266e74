"""Parameters of sensing."""

from __future__ import annotations

from dataclasses import dataclass

from jepa_ros.config import param, validate


@dataclass(frozen=True)
class SensingConfig:
    """How messages are matched, and which frames they are put in. The defaults suit most rigs."""

    base_frame: str = param(
        "", "Frame of the vehicle; empty = the odometry's child frame, or base_link if that one is tilted, rotated or missing"
    )
    odom_frame: str = param("", "Fixed frame of the odometry; empty = the frame of the odometry messages, or odom")
    match_tolerance_s: float = param(
        0.1, "Largest difference of stamps between a sweep and an image, or another lidar's sweep, used with it, s", at_least=0.0
    )
    match_wait_s: float = param(0.05, "Longest wait for the image and odometry that match a sweep, s", at_least=0.0, at_most=1.0)
    lost_after_s: float = param(0.5, "A sensor silent for this long, by the stamps of the others, counts as lost, s", at_least=0.05)
    jump_back_s: float = param(0.1, "Stamps that go back by more than this are a jump in time, s", at_least=0.0)
    buffer_s: float = param(10.0, "How long odometry and transforms are kept, s", at_least=1.0)
    ego_extrapolation_s: float = param(0.2, "How far odometry is extrapolated beyond its newest message, s", at_least=0.0, at_most=1.0)
    static_transforms: tuple[str, ...] = param(
        (), "Extrinsics that TF does not give, each 'parent child x y z roll pitch yaw' in m and rad"
    )

    deskew: bool = param(
        True,
        "Bring each point to the stamp of its sweep by its time offset and the odometry; topics named as compensated are not changed",
    )
    own_body_m: tuple[float, ...] = param(
        (), "Box of the vehicle's own returns: x_min, y_min, x_max, y_max in the base frame, m; empty = guessed, and what rides along"
    )

    def __post_init__(self) -> None:
        validate(self)
        box = self.own_body_m
        if box and not (len(box) == 4 and box[0] < box[2] and box[1] < box[3]):
            raise ValueError(f"SensingConfig.own_body_m = {box}: write x_min, y_min, x_max, y_max in m, or leave it empty")
