"""Messages of candidates -> a Scene for the rule. Used for the first seconds of a bag and for a live graph."""

from __future__ import annotations

from typing import Any

from jepa_ros.sensing.topic_choice.evidence import CloudEvidence, Evidence, ImageEvidence, InfoEvidence, OdometryEvidence
from jepa_ros.sensing.topic_choice.message_types import CLOUD, COMPRESSED, IMAGE, INFO, ODOMETRY, TF
from jepa_ros.sensing.topic_choice.verdicts import Scene

KIND_OF: dict[str, type[Evidence]] = {
    CLOUD: CloudEvidence,
    IMAGE: ImageEvidence,
    COMPRESSED: ImageEvidence,
    INFO: InfoEvidence,
    ODOMETRY: OdometryEvidence,
}


class EvidenceBook:
    """Collects what is seen. Not thread-safe: one thread looks and asks."""

    def __init__(self, base_frame: str = "") -> None:
        """base_frame: where the user has named it."""
        self.scene = Scene(base_frame=base_frame)

    def candidate(self, topic: str, type_name: str) -> Evidence | None:
        """A topic that might be an input; None for a type that is never one."""
        kind = KIND_OF.get(type_name)
        if kind is None:
            return None
        known = self.scene.evidence.get(topic)
        if known is None or known.type_name != type_name:
            known = self.scene.evidence[topic] = kind(topic, type_name)
        return known

    def look(self, topic: str, type_name: str, message: Any, arrival_ns: int) -> None:
        """One message, of a candidate or of TF. `arrival_ns`: when it came, or was logged."""
        if type_name == TF:
            self.scene.frames.look(message)
        elif (evidence := self.candidate(topic, type_name)) is not None:
            evidence.look(message, arrival_ns)

    def garbage(self, topic: str, type_name: str, why: str) -> None:
        """Bytes that are no message of the type."""
        evidence = self.candidate(topic, type_name)
        if evidence is not None:
            evidence.count += 1
            evidence.unusable = evidence.unusable or why

    def drop(self, topic: str) -> None:
        """A topic is no longer there."""
        self.scene.evidence.pop(topic, None)
