"""Counts the messages of each input by outcome, for diagnostics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class InputStatus:
    """Counters of one input since the hub was made."""

    kind: str  # camera | lidar | odometry | transforms | camera_info
    received: int
    used: int  # part of an observation, or stored (odometry, transforms, camera_info)
    dropped_newest_wins: int  # good, but a newer one came before it was needed
    stale: int  # older than what was used before
    malformed: Mapping[str, int]  # short reason -> count
    last_stamp_ns: int | None
    lost: bool  # silent, or without a usable message, while other sensors went on
    notices: Mapping[str, str] = field(default_factory=dict)  # short name -> what is odd about it and what is done, in a sentence


@dataclass
class Counters:
    """The same, while it is being counted."""

    kind: str
    received: int = 0
    used: int = 0
    dropped: int = 0
    stale: int = 0
    malformed: Counter[str] = field(default_factory=Counter)
    notices: dict[str, str] = field(default_factory=dict)  # what -> the sentence for the user
    last_stamp_ns: int | None = None  # of the messages believed
    good_stamp_ns: int | None = None  # of the messages that could be used
    first_stamp_ns: int | None = None
    given_up: bool = False  # nobody listens to it any more

    def saw(self, stamp_ns: int) -> None:
        self.last_stamp_ns = max(self.last_stamp_ns or stamp_ns, stamp_ns)
        self.first_stamp_ns = self.first_stamp_ns or stamp_ns

    def tell(self, what: str, notice: str | None) -> None:
        """Something odd about this input, in a sentence; None = it is no longer so."""
        if notice is None:
            self.notices.pop(what, None)
        else:
            self.notices[what] = notice

    def forget_time(self) -> None:
        self.last_stamp_ns = self.good_stamp_ns = self.first_stamp_ns = None

    def snapshot(self, lost: bool) -> InputStatus:
        malformed = {reason: count for reason, count in self.malformed.items() if count}
        return InputStatus(
            self.kind, self.received, self.used, self.dropped, self.stale, malformed, self.last_stamp_ns, lost, dict(self.notices)
        )


# Short reason -> what it means and what to do, for people. Reasons that are not here speak for themselves.
ADVICE = {
    "missing_transform": "no transform connects its frame to the vehicle's: record or publish /tf_static, or set sensing.static_transforms",
    "missing_pose": "no odometry or transform covers its stamp: none came, it came too late, or its clock differs",
    "absurd_stamp": "zero, or far from the stamps of the other inputs: another clock (PTP time is 37 s off, GPS time 18 s)",
    "missing_camera_info": "no CameraInfo had come: record it beside the image",
    "wrong_step": "the sizes in the message contradict each other (step, row_step, point_step)",
    "truncated_data": "fewer bytes than the message says",
    "no_points": "no point in it that is finite and not zero",
    "bad_fields": "x, y or z is missing, or not in metres: integers, or no point nearby, as in millimetres",
    "unknown_encoding": "the image's encoding is not known",
    "undecodable_image": "the compressed image cannot be decoded",
    "bad_camera_info": "the intrinsics cannot be used: calibrate the camera",
    "other_image_size": "its CameraInfo is for images of another shape: publish the one of these images, or the crop as its roi",
    "non_finite_pose": "the pose is invalid: not finite, or a quaternion whose norm is not 1",
    "tilted_frame": "its child frame is tilted, so it is not the vehicle's; publish base_link -> it on TF, or set sensing.base_frame",
    "other_frames": "its frames differ from those before: two nodes publish on it, or its driver was started anew",
    "undeserialisable": "its bytes are not a message of its type",
    "stalled_stamp": "its stamps do not advance while those of other inputs do: milliseconds as nanoseconds, or whole seconds",
    "stale": "not newer than the one used before it: stamps that repeat, jump back, or are rounded to whole seconds",
    "transform_loop": "the transform closes a loop",
    "without_camera": "no image was near in time, and the model needs one",
    "without_lidar": "no sweep was near in time, and the model needs one",
}  # fmt: skip


def advice(reason: str, status: InputStatus) -> str:
    """A reason, its meaning, and what to do about it."""
    return f"{reason} ({ADVICE[reason]})" if reason in ADVICE else reason
