"""The report on a bag: topics taken and left with reasons, losses by cause, and the fix where nothing came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jepa_ros.sensing.bags.records import BagInfo
from jepa_ros.sensing.hub.status import InputStatus, advice
from jepa_ros.sensing.topic_choice.message_types import NOT_READ
from jepa_ros.sensing.topic_choice.verdicts import Choice, Verdict


@dataclass(frozen=True)
class BagReport:
    """Of one reading of a bag, so far."""

    info: BagInfo
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]  # what is odd about the bag and what was done about it
    inputs: Mapping[str, InputStatus]  # counters of each input that was taken
    observations: int = 0

    @property
    def losses(self) -> tuple[str, ...]:
        """A sentence for each input and cause that cost messages: topic, count, cause, fix."""
        counts = {topic.name: topic.count for topic in self.info.topics}
        told = []
        for name, status in self.inputs.items():
            lost = {**status.malformed, **({"stale": status.stale} if status.stale and status.kind in ("lidar", "camera") else {})}
            for reason, count in sorted(lost.items(), key=lambda entry: -entry[1]):
                told.append(f"{name}: {count} of {max(counts.get(name, 0), status.received)} messages lost, {advice(reason, status)}")
        return tuple(told)

    def __str__(self) -> str:
        lines = [f"{self.info.path}: {self.observations} observations", *self.notes, *map(str, self.verdicts), *self.losses]
        return "\n  ".join([*lines, *self.notices])

    @property
    def notices(self) -> tuple[str, ...]:
        """What is odd about an input and what is done about it, a sentence each."""
        return tuple(f"{name}: {notice}" for name, status in self.inputs.items() for notice in status.notices.values())


def verdicts_of(info: BagInfo, choice: Choice) -> tuple[Verdict, ...]:
    """Those of the rule, and one for each topic that carries a sensor in a type that is not read."""
    foreign = [Verdict(topic.name, "input", False, NOT_READ[topic.type_name]) for topic in info.topics if topic.type_name in NOT_READ]
    return (*choice.verdicts, *foreign)


def nothing_came(report: BagReport, choice: Choice) -> str:
    """Why a bag has given no observation, in words that say what to do."""
    causes = [*report.losses, *report.notices, *report.notes]
    if choice.odometry is None and not any(status.kind == "transforms" for status in report.inputs.values()):
        causes.append(
            "no odometry and no /tf is in the bag: where the vehicle was is not known; record nav_msgs/Odometry or odom -> base_link on /tf"
        )
    causes += [str(verdict) for verdict in report.verdicts if not verdict.taken]
    return f"{report.info.path}: no observation comes out of it. " + "; ".join(causes or ["its inputs hold no messages"])
