"""Which topics of a live graph are the sensors, by the same rule as for bags: `jepa_ros.sensing.topic_choice.rule`."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from jepa_ros.sensing.topic_choice.evidence import CloudEvidence, ImageEvidence, OdometryEvidence
from jepa_ros.sensing.topic_choice.evidence_book import EvidenceBook
from jepa_ros.sensing.topic_choice.message_types import CLOUD, COMPRESSED, IMAGE, INFO, NOT_READ, ODOMETRY, TF
from jepa_ros.sensing.topic_choice.rule import choose, may_be_outdone
from jepa_ros.sensing.topic_choice.verdicts import Choice, Named, Verdict
from jepa_ros.types import NANOSECONDS

__all__ = ["CLOUD", "COMPRESSED", "IMAGE", "INFO", "KINDS", "ODOMETRY", "TF", "LiveChoice"]

KINDS = {IMAGE: "camera", COMPRESSED: "camera", INFO: "camera_info", CLOUD: "lidar", ODOMETRY: "odometry", TF: "transforms"}
FIRST_FEW = 3
HEARING_NS = NANOSECONDS  # so long, where the first odometry that is heard may be outdone, the others are waited for
SILENT_NS = 3 * NANOSECONDS  # an odometry that says nothing for so long, while another one does, has ended


class LiveChoice:
    """Judges the candidates again whenever a message or the graph tells something new. Not thread-safe: callbacks of one executor.

    A topic whose last publisher has gone is left as soon as another candidate can step in; until then it is waited for.
    """

    def __init__(self, named: Named, roles: Collection[str], base_frame: str = "") -> None:
        """roles: of camera, lidar and odometry, those that are wanted."""
        self.choice = Choice()
        self._named = named
        self._kinds = {kind for kind, role in KINDS.items() if role in roles or (role == "camera_info" and "camera" in roles)}
        self._book = EvidenceBook(base_frame)
        self._graph: dict[str, str] = {}
        self._foreign: dict[str, str] = {}
        self._heard_ns: dict[str, int] = {}
        self._first_odometry_ns: int | None = None

    def see(self, graph: Mapping[str, str]) -> None:
        """The topics that have a publisher now, with their types."""
        self._graph = {topic: kind for topic, kind in graph.items() if kind in self._kinds}
        self._foreign = {topic: kind for topic, kind in graph.items() if kind in NOT_READ}
        for topic, kind in self._graph.items():
            self._book.candidate(topic, kind)

    def look(self, topic: str, kind: str, message: Any, now_ns: int) -> bool:
        """One message of a candidate, or of TF. True for the first few of a candidate: it is worth judging again at once."""
        self._heard_ns[topic] = now_ns
        if kind == ODOMETRY and self._first_odometry_ns is None:
            self._first_odometry_ns = now_ns
        evidence = self._book.scene.evidence.get(topic)
        if evidence is None or not evidence.enough:  # TF, whose frames may change, and candidates that have not shown what they are
            self._book.look(topic, kind, message, now_ns)
        return evidence is not None and evidence.count <= FIRST_FEW

    def garbage(self, topic: str, kind: str, why: str) -> None:
        """Bytes on a candidate's topic that are no message."""
        self._book.garbage(topic, kind, why)

    def settled(self, topic: str) -> bool:
        """Whether more of its messages would tell nothing new."""
        evidence = self._book.scene.evidence.get(topic)
        return evidence is not None and evidence.enough and not isinstance(evidence, OdometryEvidence)

    def was_sensor(self, topic: str) -> bool:
        """Whether a cloud or an image was ever expected on it."""
        return isinstance(self._book.scene.evidence.get(topic), (CloudEvidence, ImageEvidence))

    @property
    def candidates(self) -> dict[str, str]:
        """Topics to listen to, and their types, whether they are taken or not."""
        return dict(self._graph)

    def decide(self, now_ns: int) -> Choice:
        """What is to be listened to from now on."""
        scene = self._book.scene
        alive = {topic: evidence for topic, evidence in scene.evidence.items() if topic in self._graph}
        found = choose(dataclasses.replace(scene, evidence=alive, silent=self._silent(now_ns)), self._named)
        before = self.choice
        lidars, cameras, odometry = found.lidars, dict(found.cameras), found.odometry
        if set(lidars) <= set(before.lidars):  # nobody has stepped in for those that are gone
            lidars = tuple(topic for topic in before.lidars if topic in lidars or topic not in self._graph) or lidars
        if set(cameras) <= set(before.cameras):
            cameras = {**{image: info for image, info in before.cameras.items() if image not in self._graph}, **cameras}
        if odometry is None and before.odometry and before.odometry not in self._graph:
            odometry = before.odometry
        verdicts = found.verdicts
        if before.odometry is None and not self._named.odometry and self._waits(odometry, now_ns):
            verdicts = tuple(verdict for verdict in verdicts if verdict.topic != odometry)
            odometry = None
        foreign = tuple(
            Verdict(topic, "input", False, NOT_READ[kind], fix=NOT_READ[kind].split(": ", 1)[1])
            for topic, kind in sorted(self._foreign.items())
        )
        self.choice = Choice(cameras, lidars, odometry, (*verdicts, *foreign))
        return self.choice

    def _waits(self, odometry: str | None, now_ns: int) -> bool:
        """Whether others are heard before this one is taken. To change it later is a jump in time to all that keeps history."""
        evidence = self._book.scene.evidence.get(odometry or "")
        if not isinstance(evidence, OdometryEvidence) or self._first_odometry_ns is None:
            return False
        return may_be_outdone(evidence) and now_ns - self._first_odometry_ns < HEARING_NS

    def forget_points(self) -> None:
        """Free the sweeps that were kept for comparison; called once every candidate has been looked at for a while."""
        for evidence in self._book.scene.evidence.values():
            if isinstance(evidence, CloudEvidence) and evidence.enough:
                evidence.forget_sweeps()

    def _silent(self, now_ns: int) -> frozenset[str]:
        told = {topic: heard_ns for topic, heard_ns in self._heard_ns.items() if self._graph.get(topic) == ODOMETRY}
        newest_ns = max(told.values(), default=0)
        going_on = now_ns - newest_ns < SILENT_NS
        return frozenset(topic for topic, heard_ns in told.items() if going_on and newest_ns - heard_ns > SILENT_NS)
