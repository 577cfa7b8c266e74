"""Recorded bytes -> messages, and what the first seconds of a bag show of its topics."""

from __future__ import annotations

import functools
import struct
from typing import Any

from jepa_ros.sensing.bags.records import BagInfo, RawMessage
from jepa_ros.sensing.bags.storage import read_raw
from jepa_ros.sensing.topic_choice.evidence import ENOUGH_ODOMETRY, ENOUGH_STRETCHES, Evidence, OdometryEvidence
from jepa_ros.sensing.topic_choice.evidence_book import KIND_OF, EvidenceBook
from jepa_ros.sensing.topic_choice.message_types import ODOMETRY, TF, transform_topics
from jepa_ros.types import NANOSECONDS

LONGEST_LOOK_NS = 20 * NANOSECONDS  # of log time; candidates that are all still silent are waited for
LONGEST_STAND_NS = 1800 * NANOSECONDS  # of log time, for odometries alone


@functools.cache
def typestore() -> Any:
    """The message types that are read here have been the same since Foxy, so the definitions in the bag are not needed."""
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.LATEST)


def deserialise(raw: RawMessage) -> Any:
    """The message. Raises ValueError where the bytes are none of its type."""
    from rosbags.serde import SerdeError

    try:
        return typestore().deserialize_cdr(raw.data, raw.type_name)
    except (SerdeError, struct.error, IndexError) as error:
        raise ValueError(f"{raw.topic}: {error}") from None


def look_into(info: BagInfo, base_frame: str = "") -> EvidenceBook:
    """What the topics of a bag carry, by its static transforms and its first seconds. Raises BagError."""
    book = EvidenceBook(base_frame)
    transforms = transforms_of(info)
    static = {name for name in transforms if is_static(name)}
    candidates = {topic.name for topic in info.topics if topic.type_name in KIND_OF and topic.count}
    for topic in info.topics:
        if topic.name in candidates:
            book.candidate(topic.name, topic.type_name)
    for raw in read_raw(info.path, static) if static else ():
        _look(book, raw)
    rivals = sum(topic.type_name == ODOMETRY and topic.count > 0 for topic in info.topics) > 1
    begin_ns: int | None = None
    for raw in read_raw(info.path, candidates | (transforms - static)) if candidates else ():
        begin_ns = raw.log_time_ns if begin_ns is None else begin_ns
        _look(book, raw)
        late = raw.log_time_ns - begin_ns > LONGEST_LOOK_NS
        waited_for = [evidence for evidence in book.scene.evidence.values() if not _settled(evidence, rivals)]
        if not waited_for or (late and _each_role_seen(book)):
            break
    if rivals and begin_ns is not None:
        _look_for_motion(info, book, raw.log_time_ns, begin_ns + LONGEST_STAND_NS)
    return book


def _look_for_motion(info: BagInfo, book: EvidenceBook, seen_ns: int, until_ns: int) -> None:
    """A vehicle that stands or drives straight shows no heading: more odometry alone is read until the topics can be distinguished."""
    rivals = {topic: found for topic, found in book.scene.evidence.items() if isinstance(found, OdometryEvidence)}
    for raw in read_raw(info.path, set(rivals)):
        told = all(found.turned or found.has_no_heading() for found in rivals.values())
        if told or any(found.stretches >= ENOUGH_STRETCHES for found in rivals.values()) or raw.log_time_ns > until_ns:
            break
        if raw.log_time_ns > seen_ns:
            _look(book, raw)


def transforms_of(info: BagInfo) -> set[str]:
    """The topics that carry the vehicle's transforms."""
    return set(transform_topics(topic.name for topic in info.topics if topic.type_name == TF and topic.count))


def is_static(topic: str) -> bool:
    """Whether a TF topic tells of what never moves."""
    return topic.endswith("tf_static")


def _settled(evidence: Evidence, rivals: bool) -> bool:
    if isinstance(evidence, OdometryEvidence):  # the others are read no further for it: rivals are told apart later, alone
        enough = ENOUGH_ODOMETRY if rivals else 10
        return evidence.count >= enough and (evidence.turned or evidence.stretches >= 4 or evidence.count >= 200)
    return evidence.enough


def _each_role_seen(book: EvidenceBook) -> bool:
    found = book.scene.evidence.values()
    roles = {evidence.type_name for evidence in found}
    return roles <= {evidence.type_name for evidence in found if evidence.count}


def _look(book: EvidenceBook, raw: RawMessage) -> None:
    known = book.scene.evidence.get(raw.topic)
    if known is not None and not isinstance(known, OdometryEvidence) and known.enough:
        known.count += 1
        return
    try:
        book.look(raw.topic, raw.type_name, deserialise(raw), raw.log_time_ns)
    except ValueError:
        book.garbage(raw.topic, raw.type_name, "undeserialisable")
