"""The doctor's checks of the ROS graph: publishers, subscribers without one, and the faults that our own nodes report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, qos_check_compatible

from jepa_ros.ros.lifecycle import in_namespace
from jepa_ros.ros.own_topics import OUR_NODES
from jepa_ros.ros.tools.doctor.findings import Finding, error, good, warning
from jepa_ros.ros.tools.run_report import busiest_thread_ms

DRIVEN = ("cmd_vel", "tf", "tf_static")  # besides the inputs and what our nodes publish and hear
FIXES = {  # last word of a status's name -> what to do, where its message does not say it
    "latency": "see the latency that this page gives, and docs/operating.md",
    "worker": "the node's log has the whole error; please report it",
    "latent": "the weights do not fit these sensors: docs/models.md",
}
NODE_FIX = "what it says is what to do; docs/operating.md has a table of symptoms"
START = "ros2 launch jepa_ros world_model.launch.py"
HOST = slice(2, 4)  # bytes of a Fast DDS identifier that name the machine


def quality_findings(node: Node, topics: Iterable[str]) -> Iterator[Finding]:
    """Of each publisher and each subscription: whether DDS joins them."""
    wanted = {*map(node.resolve_topic_name, (*topics, *DRIVEN)), *_topics_of_our_nodes(node)}
    for topic in sorted(wanted):
        publishers = node.get_publishers_info_by_topic(topic)
        for hearer in node.get_subscriptions_info_by_topic(topic):
            same_type = [publisher for publisher in publishers if publisher.topic_type == hearer.topic_type]
            if publishers and not same_type:
                yield _types_apart(topic, hearer, publishers[0])
            for publisher in same_type:
                verdict, reason = qos_check_compatible(publisher.qos_profile, hearer.qos_profile)
                if verdict == QoSCompatibility.ERROR:
                    who, whom = _name(hearer), _name(publisher)
                    text = f"{who} hears nothing of {whom}: {reason.strip().rstrip(';').removeprefix('ERROR: ')}"
                    yield error(topic, text, _quality_fix(publisher, hearer, who, whom))


def _types_apart(topic: str, hearer: Any, publisher: Any) -> Finding:
    """DDS joins ends of one type only, and says nothing of others: a base that waits for TwistStamped never hears a Twist."""
    asked, sent = hearer.topic_type, publisher.topic_type
    fix = f"one of the two must take the other's type; ros2 topic info -v {topic}"
    if topic.rsplit("/", 1)[-1].startswith("cmd_vel"):
        fix = f"controller.stamped: {str(asked.endswith('Stamped')).lower()} where the planner sends it, or change what the base takes"
    return error(topic, f"{_name(hearer)} hears nothing of {_name(publisher)}: it takes {asked}, {sent} is sent", fix)


def twin_findings(node: Node) -> Iterator[Finding]:
    """Nodes of ours that run twice, and others who steer beside the planner."""
    here = Counter(name for name, namespace in node.get_node_names_and_namespaces() if namespace == node.get_namespace())
    for name in OUR_NODES:
        if here[name] > 1:
            yield error(
                name, f"{here[name]} nodes of this name run: requests and parameters reach either", "end all but one: ros2 node list; ps ax"
            )
    topic = node.resolve_topic_name("cmd_vel")
    names = [_name(publisher) for publisher in node.get_publishers_info_by_topic(topic)]
    if any(name.endswith("/planner") for name in names) and len(names) > 1:
        fix = "let one of them steer, or put a multiplexer (twist_mux, collision_monitor) before the base"
        yield warning(topic, f"{len(names)} publishers in turn: {', '.join(sorted(names))}", fix)


def clock_findings(node: Node) -> Iterator[Finding]:
    """Who waits for simulated time that nobody tells, and who of ours does not heed it."""
    own = node.get_namespace().rstrip("/") + "/"
    heeding = {name for info in node.get_subscriptions_info_by_topic("/clock") if (name := _name(info)).startswith(own)}
    if not node.count_publishers("/clock"):
        if heeding:
            text = f"{', '.join(sorted(heeding))} go by it, and nobody publishes it: for them time stands still"
            yield error("/clock", text, "use_sim_time: false for them, or start the simulator, or ros2 bag play --clock")
        return
    running = {own + name for name, namespace in node.get_node_names_and_namespaces() if namespace == node.get_namespace()}
    for name in sorted(running & {own + ours for ours in OUR_NODES} - heeding):
        fix = "use_sim_time: true for it, or stop what publishes /clock where the sensors are real"
        yield warning("/clock", f"it is published, and {name} goes by this machine's clock", fix)


def _quality_fix(publisher: Any, hearer: Any, who: str, whom: str) -> str:
    """What to change at which end."""
    offered, asked = publisher.qos_profile, hearer.qos_profile
    changes = [
        f"{policy} {getattr(offered, policy).name.lower()} to {getattr(asked, policy).name.lower()}"
        for policy in ("reliability", "durability")
        if getattr(offered, policy) != getattr(asked, policy)
    ]
    return f"change in {whom} {' and '.join(changes) or 'deadline or liveliness'}, or in {who} the other way round"


def crowd_findings(node: Node, taken: Iterable[str]) -> Iterator[Finding]:
    """Sensors that several publishers share."""
    for topic in sorted(taken):
        publishers = node.get_publishers_info_by_topic(topic)
        if len(publishers) > 1:
            names = ", ".join(_name(publisher) for publisher in publishers)
            yield warning(
                topic, f"{len(publishers)} publishers in turn: {names}", "end all but one: a bag beside the driver, or a driver twice?"
            )


def from_elsewhere(node: Node, topics: Iterable[str], middleware: str) -> bool:
    """Whether a publisher of these runs on another machine, as far as Fast DDS's identifiers tell."""
    own_endpoints = node.get_publishers_info_by_topic("/rosout") if "fastrtps" in middleware else []
    mine = [info for info in own_endpoints if info.node_name == node.get_name()]
    if not mine:
        return False
    host = bytes(mine[0].endpoint_gid[HOST])
    return any(bytes(info.endpoint_gid[HOST]) != host for topic in topics for info in node.get_publishers_info_by_topic(topic))


def node_findings(node: Node, statuses: Mapping[str, DiagnosticStatus]) -> Iterator[Finding]:
    """What our nodes of this robot say on /diagnostics."""
    for name in OUR_NODES:
        own = {key: status for key, status in statuses.items() if key.startswith(in_namespace(node, f"{name}: "))}
        if not own:
            yield good(name, f"does not run; to start it: {START}")
        for key, status in own.items():
            last = key.rsplit(": ", 1)[1]
            if status.level == DiagnosticStatus.OK:
                continue
            what = f"{name} says of {last}"
            if last == "node":
                step = "configure" if status.message == "unconfigured" else "activate"
                yield error(name, f"it is {status.message}", f"ros2 lifecycle set {node.get_namespace().rstrip('/')}/{name} {step}")
            elif status.level == DiagnosticStatus.ERROR:
                yield error(what, status.message, FIXES.get(last, NODE_FIX))
            else:
                yield warning(what, status.message, FIXES.get(last, NODE_FIX))


def told_step_ms(statuses: Mapping[str, DiagnosticStatus]) -> float | None:
    """Time per frame of the running world_model; None if it has not reported it."""
    pairs = [pair for name, status in statuses.items() if name.endswith("world_model: latency") for pair in status.values]
    stages = {pair.key.split(".")[1]: float(pair.value) for pair in pairs if pair.key.endswith(".p50_ms")}
    return busiest_thread_ms(stages) or None


def pace_finding(step_ms: float, rate_hz: float) -> Finding:
    """Whether frames can be processed as fast as they come."""
    if step_ms <= 1e3 / rate_hz:
        return good("latency", f"a frame takes {step_ms:.0f} ms, one comes every {1e3 / rate_hz:.0f} ms")
    text = f"a frame takes {step_ms:.0f} ms, and one comes every {1e3 / rate_hz:.0f} ms: {1 - 1e3 / rate_hz / step_ms:.0%} are dropped"
    return warning(
        "latency", text, "device: cuda, pipeline.engine: onnxruntime, more threads, or a lower rate of the sensor (docs/operating.md)"
    )


def _topics_of_our_nodes(node: Node) -> set[str]:
    found: set[str] = set()
    for name, namespace in node.get_node_names_and_namespaces():
        if name in OUR_NODES and namespace == node.get_namespace():
            for told in (node.get_publisher_names_and_types_by_node, node.get_subscriber_names_and_types_by_node):
                found |= {topic for topic, _ in told(name, namespace)}
    return found


def _name(endpoint: Any) -> str:
    return f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"
