"""With several robots in one domain, a node takes only its own robot's sensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jepa_ros.ros.topics import ODOMETRY

OUR_NODES = ("world_model", "planner")


def own_graph(node: Any) -> dict[str, str]:
    """Topic -> type of everything that is published and may be taken without being named."""
    own = _prefix(node.get_fully_qualified_name())  # a node is not its own sensor, whatever its name
    topics = node.get_topic_names_and_types()
    published = {name: kinds[0] for name, kinds in topics if not name.startswith(own) and node.count_publishers(name)}
    return own_topics(published, node.get_namespace(), node.get_node_names_and_namespaces())


def own_topics(graph: Mapping[str, str], namespace: str, nodes: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Of a node in `namespace`: of each type its own namespace's topics where there are any, else those that are no other robot's.

    What our nodes say under their names (~/predicted_obstacles is a cloud) is nobody's sensor.
    A namespace is another robot's where one of our nodes runs in it; and, seen from inside a namespace, where odometry comes from it.
    """
    namespace, nodes = _prefix(namespace), list(nodes)
    ours = tuple(_prefix(_prefix(where) + name) for name, where in nodes if name in OUR_NODES)
    graph = {topic: kind for topic, kind in graph.items() if not topic.startswith(ours)}
    others = {_prefix(where) for name, where in nodes if name in OUR_NODES}
    if namespace != "/":
        others |= {_prefix("/" + topic.split("/")[1]) for topic, kind in graph.items() if kind == ODOMETRY and topic.count("/") > 1}
    others = {other for other in others if other != "/" and not namespace.startswith(other)}
    own = {topic: kind for topic, kind in graph.items() if namespace != "/" and topic.startswith(namespace)}
    own_kinds = set(own.values())
    free = {topic: kind for topic, kind in graph.items() if kind not in own_kinds and not any(topic.startswith(other) for other in others)}
    return own | free


def several(kind: str, graph: Mapping[str, str], chosen: str, parameter: str) -> str | None:
    """What to say where a topic was taken by its type and others have the same; None where it is the only one."""
    rivals = sorted(topic for topic, its_kind in graph.items() if its_kind == kind and topic != chosen)
    if not rivals:
        return None
    return f"{1 + len(rivals)} topics are {kind}: {chosen} was taken, not {', '.join(rivals)}; name the right one in {parameter}"


def crowded(node: Any, topic: str) -> str:
    """What to say where more than one publisher is on a topic that one node is to speak on; empty where there is one, or none."""
    names = sorted(_prefix(one.node_namespace) + one.node_name for one in node.get_publishers_info_by_topic(topic))
    if len(names) < 2:
        return ""
    return f"{len(names)} nodes publish {topic} ({', '.join(names)}), and their messages alternate: stop one, or remap its topic"


def _prefix(namespace: str) -> str:
    return namespace.rstrip("/") + "/"
