"""The planner's /diagnostics."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from jepa_ros.ros.planner.controller import Controller
from jepa_ros.ros.planner.inputs import Came, PlannerInputs
from jepa_ros.ros.planner.services import PlannerServices
from jepa_ros.ros.planner.session import PlannerSession
from jepa_ros.ros.planner.worker import Lateness, Misses
from jepa_ros.ros.stamps import stamp_ns_of

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
AT_REST = ("no goal", "arrived", "cancelled", "not active")
LATE = ("stopped: planning is late", "stopped: TIMEOUT")  # what too busy a machine ends in
FIX = "the machine is too busy: free a core, or give the planner a higher priority (nice needs CAP_SYS_NICE or RLIMIT_NICE)"
RECORDED_S = 3600.0
SILENT_S = 1.0  # what is planned on may be no older than max_age_s; what is worth a warning is longer silent


def planner_statuses(lifecycle: str, session: PlannerSession | None) -> list[DiagnosticStatus]:
    """The node, its inputs, and what came of its requests."""
    statuses = [_status("node", OK if lifecycle == "active" else WARN, lifecycle, {"lifecycle": lifecycle})]
    if session is not None:
        statuses += [
            _inputs_status(session.inputs, session.max_age_s, session.rivals()),
            _requests_status(session.services, session.lateness, session.misses),
        ]
        if session.controller is not None:
            statuses.append(_controller_status(session.controller))
    return statuses


def _inputs_status(inputs: PlannerInputs, max_age_s: float, rivals: str) -> DiagnosticStatus:
    heard, explain = inputs.heard(), inputs.explain
    newest = {"occupancy": heard.occupancy, "pedestrians": heard.pedestrians, "odometry": heard.odometry}
    silent = [name for name in ("occupancy", "pedestrians") if newest[name] is None]
    message = f"nothing yet from: {', '.join(silent)}: {explain()}" if silent else "receiving"
    old = [name for name, came in newest.items() if came is not None and time.monotonic() - came.received_s > max(max_age_s, SILENT_S)]
    if old and not silent:
        message = f"silent: {', '.join(old)}: {explain() if old != ['odometry'] else 'is its driver running?'}"
    off = rivals
    if not (silent or old or off or heard.occupancy is None):
        off = _time_off(inputs, heard.occupancy, max_age_s)
    values = {f"{name}.since_s": _since_s(came) for name, came in newest.items()}
    return _status("inputs", WARN if silent or old or off else OK, off or message, {**values, "latents_kept": len(heard.latents)})


def _time_off(inputs: PlannerInputs, forecast: Came, max_age_s: float) -> str:
    """Where a forecast that came just now is of another time: what its stamp says, and why that may be."""
    age_s = inputs.age_s(stamp_ns_of(forecast.content.header.stamp), forecast.received_s)
    if age_s > RECORDED_S:
        return f"forecasts are stamped {age_s:.0f} s ago: nothing is planned on them; recorded stamps? set use_sim_time, with /clock"
    if age_s > max(max_age_s, SILENT_S):
        why = "world_model is too slow (see its latency), or two machines' clocks differ (NTP, PTP)"
        return f"forecasts are {age_s:.1f} s old when they come: nothing is planned on them; {why}"
    return ""


def _controller_status(controller: Controller) -> DiagnosticStatus:
    state, values = controller.state, {"planning_s": controller.planning_s, "state": controller.state}
    missed, troubled = controller.pace.misses.told(), state.startswith(("stopped", "braking"))
    if missed and state not in AT_REST and (not troubled or state.startswith(LATE)):
        message = f"{missed[0]} of the last {missed[1]} plans were not ready within {controller.planning_s:.2f} s: {FIX}"
        return _status("controller", WARN, f"{message}; or raise controller.max_age_s, which bounds that time", values)
    problem = "" if troubled else controller.problem()
    return _status("controller", WARN if troubled or problem else OK, problem or state, values)


def _requests_status(services: PlannerServices, lateness: Lateness, misses: Misses) -> DiagnosticStatus:
    times_ms = 1e3 * np.array(services.times_s)
    values: dict[str, Any] = {f"answered.{name}": count for name, count in sorted(services.statuses.items())}
    if len(times_ms):
        values |= {"time.p50_ms": float(np.percentile(times_ms, 50)), "time.p99_ms": float(np.percentile(times_ms, 99))}
    values |= {f"late.{name}_ms": late_ms for name, late_ms in lateness.percentiles_ms().items()}
    failed = services.statuses["INTERNAL_ERROR"]
    missed = misses.told()
    message = f"{failed} requests failed by an internal error" if failed else f"{services.statuses.total()} requests answered"
    if missed and not failed:
        usual_ms = float(np.median(times_ms)) if len(times_ms) else math.nan
        message = (
            f"{missed[0]} of the last {missed[1]} plan_path requests had no plan by their deadline (TIMEOUT; one takes {usual_ms:.0f} ms "
        )
        message += f"of wall time here): {FIX}; or give a longer deadline (default_deadline_s for requests that name none)"
    return _status("requests", WARN if failed or missed else OK, message, values)


def _since_s(came: Came | None) -> float | str:
    return "never" if came is None else time.monotonic() - came.received_s


def _status(name: str, level: bytes, message: str, values: Mapping[str, Any]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=f"{value:.4g}" if isinstance(value, float) else str(value)) for key, value in values.items()]
    return DiagnosticStatus(name=f"planner: {name}", hardware_id="jepa_ros", level=level, message=message, values=pairs)
