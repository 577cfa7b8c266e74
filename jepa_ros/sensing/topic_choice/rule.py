"""The rule: which candidates are used as sensors, and why the others are not.

What counts is what the messages carry. Neither the order in which topics were found nor the length of their names decides anything,
but for the last tie-break: of candidates that are equal in all else, the one with the shorter name, then the first in the alphabet.
"""

from __future__ import annotations

import math

from jepa_ros.sensing.frames.odometry import vehicle_frame
from jepa_ros.sensing.topic_choice.evidence import SLOW_S, CloudEvidence, ImageEvidence, InfoEvidence, OdometryEvidence
from jepa_ros.sensing.topic_choice.message_types import COMPRESSED, camera_info_topic
from jepa_ros.sensing.topic_choice.moving_frames import FIXED
from jepa_ros.sensing.topic_choice.verdicts import Choice, Named, Scene, Verdict
from jepa_ros.types import FloatArray

NOT_A_PICTURE = ("depth", "disparity", "mask", "label", "confidence", "segment", "semantic")  # of colours, only the name tells
MAY_JUMP = FIXED - {"odom"}  # REP-105: what is given in `map` may jump; a simulator's truth is in `world`
NOT_YET = "no message yet"
FEWEST_POINTS = 64  # of a lidar's sweep, where another candidate has more
RADAR_FIELDS = frozenset(("rcs", "doppler", "snr", "radial_speed", "velocity", "v_doppler_mps", "range_rate", "power"))
COLOUR_FIELDS = frozenset(("rgb", "rgba"))
MOUNTS = "set sensing.static_transforms"


def choose(scene: Scene, named: Named | None = None) -> Choice:
    """Judge all candidates. Those that have shown no message yet are left for now."""
    named = named or Named()
    odometry, about_odometry = _odometry(scene, named)
    chosen = scene.evidence.get(odometry or "")
    told = chosen if isinstance(chosen, OdometryEvidence) else None
    base = (_vehicle(scene, told) if told else "") or scene.base_frame.lstrip("/") or "base_link"
    odom = told.frame if told else "odom"
    lidars, about_lidars = _lidars(scene, named, base, odom)
    cameras, about_cameras = _cameras(scene, named, base, odom)
    verdicts = (*about_cameras, *about_lidars, *about_odometry)
    return Choice(cameras, tuple(lidars), odometry, verdicts)


def _vehicle(scene: Scene, odometry: OdometryEvidence) -> str:
    """The frame of the vehicle that an odometry tells of, as the hub sees it; empty where it tells of none."""
    named = scene.base_frame.lstrip("/")
    return named or (vehicle_frame(odometry.child, odometry.upright, scene.frames.pose) if odometry.child else "")


def odometry_doubts(found: OdometryEvidence, silent: bool = False, base_from_child: FloatArray | None = None) -> list[tuple[int, str, str]]:
    """(weight, what speaks against it, what to do) of an odometry; an empty list is a good one. base_from_child: where TF knows it."""
    doubts = []
    if found.child and not found.upright and base_from_child is None:
        text = f"its child frame {found.child} lies on its side or is upside down, and TF does not connect it to the vehicle"
        doubts.append((32, text, f"publish base_link -> {found.child} on /tf_static, or set sensing.base_frame"))
    if found.count and found.unusable:
        doubts.append((64, f"none of its messages could be used: {found.unusable}", "publish a finite pose and a quaternion of length 1"))
    if silent:
        doubts.append((32, "it has stopped sending", "see whether its driver runs"))
    if found.has_no_heading(base_from_child):
        text = "its heading never changes although it does not move straight ahead: a position, not a pose"
        doubts.append((16, text, "fill in its orientation; if its child frame is a sensor's, set sensing.base_frame"))
    if not found.measured:
        doubts.append((2, "its covariance begins with -1: not measured", ""))
    if not found.child:
        doubts.append((8, "it names no child frame", "let its driver fill child_frame_id (base_link), or set sensing.base_frame"))
    if found.period_s > SLOW_S:
        text = f"one message in {found.period_s:.1f} s"
        doubts.append((4, text, f"publish it at {3 / SLOW_S:.0f} Hz or more, or name a faster one in inputs.odometry_topic"))
    return doubts


def may_be_outdone(found: OdometryEvidence) -> bool:
    """Whether another odometry, still to be heard, may well be better by what it carries."""
    return bool(odometry_doubts(found)) or found.frame in MAY_JUMP


def _odometry(scene: Scene, named: Named) -> tuple[str | None, list[Verdict]]:
    if named.odometry is not None:
        return named.odometry or None, [Verdict(named.odometry, "odometry", True, "named")] if named.odometry else []
    found = [evidence for evidence in scene.of(OdometryEvidence) if isinstance(evidence, OdometryEvidence)]
    heard = [evidence for evidence in found if evidence.count]
    farthest_m = max((evidence.spread_m for evidence in heard), default=0.0)

    def mount(evidence: OdometryEvidence) -> FloatArray | None:
        vehicle = _vehicle(scene, evidence)  # else the child frame is the vehicle's
        return scene.frames.pose(vehicle, evidence.child) if vehicle else None

    def doubts(evidence: OdometryEvidence) -> list[tuple[int, str, str]]:
        against = odometry_doubts(evidence, evidence.topic in scene.silent, mount(evidence))
        if farthest_m > 1.0 and evidence.spread_m < 0.1 * farthest_m:
            against.append((16, f"it does not move while another one moves {farthest_m:.1f} m", ""))
        if farthest_m > 1.0 and not evidence.has_twist:
            against.append((1, "its twist is never filled", ""))
        return against

    def rank(evidence: OdometryEvidence) -> tuple[object, ...]:
        in_tree = (
            scene.frames.rides(evidence.child, evidence.child, evidence.frame)
            and scene.frames.pose(evidence.frame, evidence.child) is not None
        )
        return (
            sum(weight for weight, *_ in doubts(evidence)),
            not in_tree,  # the one whose pose TF carries too is the robot's own
            evidence.frame in MAY_JUMP,
            len(evidence.topic),
            evidence.topic,
        )  # fmt: skip

    heard.sort(key=rank)
    verdicts = []
    for index, evidence in enumerate(heard):
        best, worst_first = heard[0], sorted(doubts(evidence), reverse=True)
        lies = evidence.child and not evidence.upright and mount(evidence) is None
        taken = index == 0 and not lies and not evidence.has_no_heading(mount(evidence))  # a wrong heading is worse than none
        equal = rank(evidence)[:-2] == rank(best)[:-2]  # but for their names
        why = "; ".join(text for _, text, _ in worst_first)
        if not why and not taken and equal:
            why = f"as good as {best.topic}, which has the shorter name, or comes first"
        elif not why and not taken:
            why = f"{best.topic} keeps to TF, or to odom"
        fix = "; ".join(fix for _, _, fix in worst_first if fix)
        verdicts.append(Verdict(evidence.topic, "odometry", taken, why, doubtful=equal and not taken, fix=fix))
    verdicts += [Verdict(evidence.topic, "odometry", False, NOT_YET, doubtful=True) for evidence in found if not evidence.count]
    return next((verdict.topic for verdict in verdicts if verdict.taken), None), verdicts


def _lidars(scene: Scene, named: Named, base: str, odom: str) -> tuple[list[str], list[Verdict]]:
    if named.lidars is not None:
        return list(named.lidars), [Verdict(topic, "lidar", True, "named") for topic in named.lidars]
    left: dict[str, str] = {}
    riding: list[CloudEvidence] = []
    broken: list[CloudEvidence] = []
    loose: list[CloudEvidence] = []  # TF does not know their frame
    for evidence in scene.of(CloudEvidence):
        assert isinstance(evidence, CloudEvidence)
        if not evidence.count:
            left[evidence.topic] = NOT_YET
        elif evidence.topic in scene.silent:
            left[evidence.topic] = "it has stopped sending"
        elif (rides := scene.frames.rides(evidence.frame, base, odom)) is False:
            left[evidence.topic] = f"its frame {evidence.frame} does not move with the vehicle: a map, not a sweep"
        elif not evidence.points:
            broken.append(evidence)
        else:
            (loose if rides is None else riding).append(evidence)
    taken: list[CloudEvidence] = []
    for group in scene.copies.groups(riding, scene.frames, base):
        best, *others = sorted(group, key=lambda cloud: (-cloud.points, -len(cloud.fields), len(cloud.topic), cloud.topic))
        taken.append(best)
        left |= {other.topic: f"the same sweep as {best.topic}, which has more points or fields" for other in others}
    taken = _only_lidars(taken, left)
    doubtful = {cloud.topic: f"TF does not connect its frame {cloud.frame} to {base}" for cloud in loose}
    fixes = {cloud.topic: f"publish where {cloud.frame} is mounted (URDF, static_transform_publisher), or {MOUNTS}" for cloud in loose}
    doubtful |= {cloud.topic: f"none of its messages could be used: {cloud.unusable}" for cloud in broken}
    fixes |= {cloud.topic: f"repair what its driver sends ({cloud.unusable}), or name another in inputs.cloud_topics" for cloud in broken}
    if not taken:  # better times may come; until then the hub counts what is wrong
        taken = sorted((*loose, *broken), key=lambda cloud: (-cloud.points, len(cloud.topic), cloud.topic))[:1]
    names = {cloud.topic for cloud in taken}
    left |= {topic: why for topic, why in doubtful.items() if topic not in names}
    taken.sort(key=lambda cloud: (-_height(scene.frames.pose(base, cloud.frame)), cloud.topic))  # as the hub does: the first leads
    merged = "merged with the other lidars" if len(taken) > 1 else ""
    topics = [cloud.topic for cloud in taken]
    verdicts = [Verdict(topic, "lidar", True, doubtful.get(topic, merged), fix=fixes.get(topic, "")) for topic in topics]
    return topics, verdicts + [
        Verdict(topic, "lidar", False, why, doubtful=topic in doubtful or why == NOT_YET, fix=fixes.get(topic, ""))
        for topic, why in sorted(left.items())
    ]


def _height(base_from_lidar: FloatArray | None) -> float:
    return -math.inf if base_from_lidar is None else round(float(base_from_lidar[2, 3]), 2)


def _only_lidars(candidates: list[CloudEvidence], left: dict[str, str]) -> list[CloudEvidence]:
    """Where there is a lidar, other things that send clouds are left: radars, depth cameras, clouds of a handful of points."""
    why = {}
    for cloud in candidates:
        if RADAR_FIELDS & cloud.fields:
            why[cloud.topic] = f"a radar, judging by its field {min(RADAR_FIELDS & cloud.fields)}: not a lidar"
        elif cloud.points < FEWEST_POINTS:
            why[cloud.topic] = f"{cloud.points} points are too few for a lidar's sweep"
        elif COLOUR_FIELDS & cloud.fields:
            why[cloud.topic] = "coloured points: from a depth camera, not a lidar"
    lidars = [cloud for cloud in candidates if cloud.topic not in why]
    if not lidars:
        return candidates
    left |= why
    return lidars


def _cameras(scene: Scene, named: Named, base: str, odom: str) -> tuple[dict[str, str | None], list[Verdict]]:
    infos = {evidence.topic for evidence in scene.of(InfoEvidence)}
    if named.cameras is not None:
        chosen = {image: named.infos.get(image) or camera_info_topic(image, infos) for image in named.cameras}
        return chosen, [Verdict(image, "camera", True, "named") for image in chosen]
    left: dict[str, str] = {}
    fixes: dict[str, str] = {}
    by_info: dict[str, list[ImageEvidence]] = {}
    for evidence in scene.of(ImageEvidence):
        assert isinstance(evidence, ImageEvidence)
        why, fix, info = _no_camera(evidence, infos, scene)
        if not why and scene.frames.rides(evidence.frame, base, odom) is False:
            why = f"its frame {evidence.frame} does not move with the vehicle: another robot's camera, or one on a wall"
        if why or info is None:
            left[evidence.topic], fixes[evidence.topic] = why, fix
        else:
            by_info.setdefault(info, []).append(evidence)
    taken: dict[str, ImageEvidence] = {}
    for info, images in by_info.items():
        best, *others = sorted(images, key=_image_rank)
        taken[info] = best
        left |= {other.topic: f"the same camera as {best.topic}" for other in others}
    colours = [image for image in taken.values() if not (image.is_drawn or image.encoding.lower() == "mono16")]
    for info, image in list(taken.items()):
        if colours and image not in colours:
            drawn = "a mask or labels: it has few different values" if image.is_drawn else "16-bit grey values although there are colours"
            left[image.topic] = drawn
            del taken[info]
    cameras: dict[str, str | None] = {image.topic: info for info, image in sorted(taken.items(), key=lambda entry: entry[1].topic)}
    verdicts = [Verdict(image, "camera", True, f"with {info}") for image, info in cameras.items()]
    return cameras, verdicts + [Verdict(topic, "camera", False, why, fix=fixes.get(topic, "")) for topic, why in sorted(left.items())]


def _no_camera(evidence: ImageEvidence, infos: set[str], scene: Scene) -> tuple[str, str, str | None]:
    """Why an image topic is no camera, or an empty text; what to do where it is broken; its CameraInfo."""
    info = camera_info_topic(evidence.topic, infos)
    word = next((word for word in NOT_A_PICTURE if word in evidence.topic.lower()), "")
    about = scene.evidence.get(info or "")
    if not evidence.count:
        return NOT_YET, "", info
    if evidence.topic in scene.silent:
        return "it has stopped sending", "see whether its driver runs", info
    if evidence.is_depth:
        return f"encoding {evidence.encoding}: distances or class numbers, not a picture", "", info
    if evidence.video:
        return f"{evidence.video} video: publish jpeg or png", "set its image_transport to compressed with jpeg or png", info
    if word:
        return f"named a {word} image; name it in inputs.image_topics if it is a picture", "", info
    if info is None:
        return (
            "no CameraInfo beside it: its intrinsics are not known",
            "publish camera_info beside it, or name inputs.camera_info_topics",
            None,
        )
    if isinstance(about, InfoEvidence) and about.problem:
        return f"{info} cannot be used: {about.problem}", "calibrate the camera (camera_calibration), or repair its driver's yaml", info
    if isinstance(about, InfoEvidence) and not about.count:
        return f"no CameraInfo has come on {info} yet", f"publish {info} with every image: ros2 topic hz {info}", info
    return "", "", info


def _image_rank(image: ImageEvidence) -> tuple[object, ...]:
    return (image.is_drawn, image.encoding.lower() == "mono16", image.is_grey, image.type_name == COMPRESSED, len(image.topic), image.topic)
