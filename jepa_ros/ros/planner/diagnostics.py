"""The planner's /diagnostics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from jepa_ros.ros.planner.inputs import Came, Heard
from jepa_ros.ros.planner.services import PlannerServices
from jepa_ros.ros.planner.session import PlannerSession
from jepa_ros.ros.planner.worker import Lateness

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
SILENT_S = 1.0  # what is planned on may be no older than max_age_s; what is worth a warning is longer silent


def planner_statuses(lifecycle: str, session: PlannerSession | None) -> list[DiagnosticStatus]:
    """The node, its inputs, and what came of its requests."""
    statuses = [_status("node", OK if lifecycle == "active" else WARN, lifecycle, {"lifecycle": lifecycle})]
    if session is not None:
        statuses += [
            _inputs_status(session.inputs.heard(), session.max_age_s, session.inputs.explain),
            _requests_status(session.services, session.lateness),
        ]
        if session.controller is not None:
            state = session.controller.state
            statuses.append(_status("controller", WARN if state.startswith(("stopped", "braking")) else OK, state, {}))
    return statuses


def _inputs_status(heard: Heard, max_age_s: float, explain: Callable[[], str]) -> DiagnosticStatus:
    newest = {"occupancy": heard.occupancy, "pedestrians": heard.pedestrians, "odometry": heard.odometry}
    silent = [name for name in ("occupancy", "pedestrians") if newest[name] is None]
    message = f"nothing yet from: {', '.join(silent)}: {explain()}" if silent else "receiving"
    old = [name for name, came in newest.items() if came is not None and time.monotonic() - came.received_s > max(max_age_s, SILENT_S)]
    if old and not silent:
        message = f"silent: {', '.join(old)}: {explain() if old != ['odometry'] else 'is its driver running?'}"
    values = {f"{name}.since_s": _since_s(came) for name, came in newest.items()}
    return _status("inputs", WARN if silent or old else OK, message, {**values, "latents_kept": len(heard.latents)})


def _requests_status(services: PlannerServices, lateness: Lateness) -> DiagnosticStatus:
    times_ms = 1e3 * np.array(services.times_s)
    values: dict[str, Any] = {f"answered.{name}": count for name, count in sorted(services.statuses.items())}
    if len(times_ms):
        values |= {"time.p50_ms": float(np.percentile(times_ms, 50)), "time.p99_ms": float(np.percentile(times_ms, 99))}
    values |= {f"late.{name}_ms": late_ms for name, late_ms in lateness.percentiles_ms().items()}
    failed = services.statuses["INTERNAL_ERROR"]
    message = f"{failed} requests failed by a fault of ours" if failed else f"{services.statuses.total()} requests answered"
    return _status("requests", WARN if failed else OK, message, values)


def _since_s(came: Came | None) -> float | str:
    return "never" if came is None else time.monotonic() - came.received_s


def _status(name: str, level: bytes, message: str, values: Mapping[str, Any]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=f"{value:.4g}" if isinstance(value, float) else str(value)) for key, value in values.items()]
    return DiagnosticStatus(name=f"planner: {name}", hardware_id="jepa_ros", level=level, message=message, values=pairs)
