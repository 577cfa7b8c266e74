"""A graph of coordinate frames that can be asked for any pose at any time in its buffer.

Plain Python over a dict of edges: tf2 needs ROS 2, and pytransform3d 3.17 takes 0.8 ms for a look-up through two moving edges.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from jepa_ros.sensing.frames.poses import interpolate, invert
from jepa_ros.types import NANOSECONDS, FloatArray

HOLD_S = 0.1  # how long the newest pose of an edge stands for later ones
SILENT_S = 2.0  # a moving edge this far behind its rival has ended: the rival takes over
MOST_NOTICES = 32  # frame names come from anybody
SAME_MOUNT = 1e-6  # m and parts of a rotation matrix: what rounding does to the pose of something that does not move


class TransformError(ValueError):
    """No transform between two frames at that time; the text names both and what is known."""


class TransformLoop(ValueError):
    """A transform whose child already stands above its parent, or is the parent itself."""


class Transforms(Protocol):
    """What a SensorHub needs of a graph of frames; TransformTree documents each method."""

    def add(self, parent: str, child: str, parent_from_child: FloatArray, stamp_ns: int | None) -> None: ...

    def clear(self) -> None: ...

    def lookup(self, target: str, source: str, stamp_ns: int | None, mounted: bool = False) -> FloatArray: ...

    def moving_root(self, frame: str) -> str | None: ...

    @property
    def notices(self) -> Mapping[str, str]: ...


@dataclass
class _Edge:
    parent: str
    child: str
    static: FloatArray | None = None
    stamps_ns: list[int] = field(default_factory=list)  # ascending
    poses: list[FloatArray] = field(default_factory=list)
    constant: bool = True  # every pose so far has been the same

    @property
    def name(self) -> str:
        return f"{self.parent} -> {self.child}"

    def add(self, pose: FloatArray, stamp_ns: int, buffer_ns: int) -> None:
        self.constant &= not self.poses or bool(np.abs(pose - self.poses[-1]).max() <= SAME_MOUNT)
        if self.stamps_ns and stamp_ns < self.stamps_ns[-1] - buffer_ns:
            self.stamps_ns, self.poses = [], []
        at = bisect.bisect_left(self.stamps_ns, stamp_ns)
        if at < len(self.stamps_ns) and self.stamps_ns[at] == stamp_ns:
            self.poses[at] = pose
            return
        self.stamps_ns.insert(at, stamp_ns)
        self.poses.insert(at, pose)
        old = bisect.bisect_left(self.stamps_ns, self.stamps_ns[-1] - buffer_ns)
        del self.stamps_ns[:old], self.poses[:old]

    def at(self, stamp_ns: int | None, hold_ns: int, mounted: bool) -> FloatArray | None:
        """parent_from_child, or None where this edge does not reach the stamp."""
        stamps = self.stamps_ns
        if not stamps:
            return self.static
        if stamp_ns is None or (mounted and self.constant) or stamps[-1] <= stamp_ns <= stamps[-1] + hold_ns:
            return self.poses[-1]
        if stamps[0] - hold_ns <= stamp_ns <= stamps[0]:
            return self.poses[0]
        if not stamps[0] < stamp_ns < stamps[-1]:
            return None
        after = bisect.bisect_right(stamps, stamp_ns)
        fraction = (stamp_ns - stamps[after - 1]) / (stamps[after] - stamps[after - 1])
        return interpolate(self.poses[after - 1], self.poses[after], fraction)

    def silent(self, stamp_ns: int | None) -> bool:
        """Whether nothing has come for long when another tells of `stamp_ns`."""
        return self.static is None and stamp_ns is not None and self.stamps_ns[-1] < stamp_ns - SILENT_S * NANOSECONDS


class TransformTree:
    """Static and moving edges parent -> child. Not thread-safe: its owner holds the lock.

    A frame with two parents keeps the one that came first until that falls silent; the other is used where the first does not lead, and
    `notices` names them.
    """

    def __init__(self, buffer_s: float = 10.0, tolerance_s: float = HOLD_S) -> None:
        """`buffer_s`: how far back moving edges are kept; `tolerance_s`: how far beyond its samples an edge holds its last pose."""
        self.notices: dict[str, str] = {}  # what -> what is odd about the transforms
        self._buffer_ns = round(buffer_s * NANOSECONDS)
        self._tolerance_ns = round(tolerance_s * NANOSECONDS)
        self._edges: dict[str, dict[str, _Edge]] = {}  # child -> parent -> edge; the first parent leads

    def add(self, parent: str, child: str, parent_from_child: FloatArray, stamp_ns: int | None) -> None:
        """Add a pose of `child` in `parent`; `stamp_ns` None = it holds always.

        A static pose goes before one in another parent; an edge whose time falls back beyond the buffer starts anew.
        Raises ValueError where the pose is not finite or a name is missing, TransformLoop where the edge would close a loop.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if not np.isfinite(parent_from_child).all():
            raise ValueError(f"transform {parent} -> {child} is not finite")
        if not child or not parent:
            raise ValueError(f"transform {parent!r} -> {child!r} has a frame without a name")
        edges = self._edges.get(child, {})
        edge = edges.get(parent)
        if edge is None:
            self._refuse_loop(parent, child, stamp_ns)
            edge = self._join(parent, child, stamp_ns)
        if stamp_ns is None:
            edge.static = parent_from_child
        else:
            edge.add(parent_from_child, stamp_ns, self._buffer_ns)
            self._succeed(edge, stamp_ns)
        if edge.static is not None and edge.stamps_ns:
            self._say(f"{edge.name} twice", f"{edge.name} is on /tf_static and on /tf: the one on /tf is used")

    def clear(self) -> None:
        """Forget all moving edges (after a jump in time); static ones stay."""
        for child, edges in list(self._edges.items()):
            kept = {parent: _Edge(parent, child, edge.static) for parent, edge in edges.items() if edge.static is not None}
            self._edges[child] = kept
            if not kept:
                del self._edges[child]

    def lookup(self, target: str, source: str, stamp_ns: int | None, mounted: bool = False) -> FloatArray:
        """(4, 4) target_from_source at `stamp_ns`; None = the newest of each edge. Raises TransformError.

        `mounted`: the frames are joined by a rig: an edge on /tf whose pose has never changed holds at any time, however seldom it comes.
        """
        target, source = target.lstrip("/"), source.lstrip("/")
        path = self._path(target, source)
        if path is not None and (pose := self._along(path, stamp_ns, mounted)) is not None:
            return pose
        around = self._way_round(target, source, lambda edge: edge.at(stamp_ns, self._tolerance_ns, mounted) is not None)
        if around is not None and (pose := self._along(around, stamp_ns, mounted)) is not None:
            return pose
        if path is None:
            raise TransformError(f"no transform from {source!r} to {target!r}; known: {self._known()}")
        missing = next(edge for edge, _ in path if edge.at(stamp_ns, self._tolerance_ns, mounted) is None)
        raise TransformError(
            f"transform {missing.parent!r} -> {missing.child!r} is known from {missing.stamps_ns[0] / NANOSECONDS:.3f} to "
            f"{missing.stamps_ns[-1] / NANOSECONDS:.3f} s, asked for {(stamp_ns or 0) / NANOSECONDS:.3f} s"
        )

    def carries(self, carrier: str, frame: str, fixed: str) -> bool:
        """Whether a vehicle `carrier` takes `frame` along: the way from it to `fixed` leads through the vehicle, or ends there."""
        carrier, frame, fixed = carrier.lstrip("/"), frame.lstrip("/"), fixed.lstrip("/")
        path = self._path(fixed, frame)
        if path is None:
            return frame == carrier or self._path(carrier, frame) is not None
        return any(carrier in (edge.parent, edge.child) for edge, _ in path)

    def moving_root(self, frame: str) -> str | None:
        """The frame at the top of the tree in which `frame` moves; None where no moving edge is above it."""
        chain = self._chain(frame.lstrip("/"))
        return chain[-1] if any(self._leading(child).stamps_ns for child in chain[:-1]) else None

    def _refuse_loop(self, parent: str, child: str, stamp_ns: int | None) -> None:
        chain = self._chain(parent)
        if child not in chain:
            return
        closing = chain[: chain.index(child)]
        ended = [frame for frame in closing if self._leading(frame).silent(stamp_ns)]
        if not ended:
            around = " -> ".join([*reversed(chain[: chain.index(child) + 1]), child]) if closing else f"{parent} -> {child}"
            fix = "take it out of the URDF or the static_transform_publisher that tells it, or swap its frames"
            self._say(f"{parent} -> {child} loop", f"transform {parent} -> {child} is left out, as it closes the loop {around}: {fix}")
            raise TransformLoop(f"transform {parent!r} -> {child!r} would close a loop: {around}")
        for frame in ended:
            del self._edges[frame]

    def _join(self, parent: str, child: str, stamp_ns: int | None) -> _Edge:
        """A new edge: it leads where it is the first, or is static and goes before static ones, which stay for where it does not lead."""
        edges = self._edges.get(child, {})
        replaced = {old: edge for old, edge in edges.items() if stamp_ns is None and not edge.stamps_ns}
        others = {old: edge for old, edge in edges.items() if old not in replaced}
        if others:
            names = ", ".join(others)
            self._say(
                f"{child} parents", f"frame {child} has several parents: {names} leads, {parent} is used where that leads to no result"
            )
        elif replaced:
            told = f"frame {child} was mounted on {', '.join(replaced)} and is now on {parent}; the former is used where the latter fails"
            self._say(f"{child} parents", told)
        self._edges[child] = {**others, parent: _Edge(parent, child), **replaced}
        return self._edges[child][parent]

    def _succeed(self, edge: _Edge, stamp_ns: int) -> None:
        """An edge that is still published replaces one that has fallen silent, which stays for earlier times."""
        leading = self._leading(edge.child)
        if leading is not edge and leading.silent(stamp_ns) and edge.child not in self._chain(edge.parent):
            edges = self._edges[edge.child]
            kept = {
                old: other for old, other in edges.items() if other.static is not None or other.stamps_ns[-1] > stamp_ns - self._buffer_ns
            }
            self._edges[edge.child] = {edge.parent: edge, **{old: other for old, other in kept.items() if other is not edge}}
            self._say(
                f"{edge.child} parents", f"frame {edge.child} was published in {leading.parent} and is now published in {edge.parent}"
            )

    def _leading(self, child: str) -> _Edge:
        return next(iter(self._edges[child].values()))

    def _chain(self, frame: str) -> list[str]:
        chain = [frame]
        while chain[-1] in self._edges:
            chain.append(self._leading(chain[-1]).parent)
        return chain

    def _path(self, target: str, source: str) -> list[tuple[_Edge, bool]] | None:
        """Edges from source to target by the leading parents, each with whether it is climbed."""
        target_chain, source_chain = self._chain(target), self._chain(source)
        common = next((frame for frame in source_chain if frame in target_chain), None)
        if common is None:
            return self._way_round(target, source, lambda _: True)
        up = [(self._leading(frame), True) for frame in source_chain[: source_chain.index(common)]]
        down = [(self._leading(frame), False) for frame in target_chain[: target_chain.index(common)]]
        return up + down[::-1]

    def _way_round(self, target: str, source: str, usable: Callable[[_Edge], bool]) -> list[tuple[_Edge, bool]] | None:
        """The way of fewest edges over all parents, where the leading ones do not lead; None also where no frame has two."""
        if all(len(edges) < 2 for edges in self._edges.values()):
            return None
        steps: dict[str, list[tuple[str, _Edge, bool]]] = {}
        for edge in (edge for edges in self._edges.values() for edge in edges.values() if usable(edge)):
            steps.setdefault(edge.child, []).append((edge.parent, edge, True))
            steps.setdefault(edge.parent, []).append((edge.child, edge, False))
        reached: dict[str, list[tuple[_Edge, bool]]] = {source: []}
        waiting = deque([source])
        while waiting and target not in reached:
            frame = waiting.popleft()
            for following, edge, climbed in steps.get(frame, ()):
                if following not in reached:
                    reached[following] = [*reached[frame], (edge, climbed)]
                    waiting.append(following)
        return reached.get(target)

    def _along(self, path: list[tuple[_Edge, bool]], stamp_ns: int | None, mounted: bool) -> FloatArray | None:
        pose = np.eye(4)
        for edge, climbed in path:
            step = edge.at(stamp_ns, self._tolerance_ns, mounted)
            if step is None:
                return None
            pose = (step if climbed else invert(step)) @ pose
        return pose

    def _say(self, what: str, notice: str) -> None:
        if what in self.notices or len(self.notices) < MOST_NOTICES:
            self.notices[what] = notice

    def _known(self) -> str:
        return ", ".join(edge.name for _, edges in sorted(self._edges.items()) for edge in edges.values()) or "nothing"
