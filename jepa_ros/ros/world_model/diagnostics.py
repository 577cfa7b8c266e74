"""The node's /diagnostics, once a second. Plain functions from facts to DiagnosticStatus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from jepa_ros.pipeline import WorldModelPipeline
from jepa_ros.ros.world_model.session import Session
from jepa_ros.sensing import InputStatus
from jepa_ros.sensing.topic_choice.rule import NOT_YET
from jepa_ros.sensing.topic_choice.verdicts import Verdict
from jepa_ros.types import FloatArray, SceneState

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
COLLAPSED_RANK = 0.05  # effective rank below this share of the latent's width: the model has stopped telling things apart


class Reporter:
    """Puts the statuses together; remembers its last report, so that a warning ends when its cause does."""

    def __init__(self) -> None:
        self._inputs: Mapping[str, InputStatus] = {}
        self._errors = 0

    def report(self, lifecycle: str, pipeline: WorldModelPipeline | None, device: str, stream: Session | None) -> list[DiagnosticStatus]:
        """`lifecycle`: label of the node's state; `stream` is there while it is active."""
        statuses = [node_status(lifecycle, pipeline, device, stream.inputs.topics if stream else [])]
        if stream is None:
            self._inputs, self._errors = {}, 0
            return statuses
        inputs, worker, problems = stream.hub.status(), stream.worker, stream.inputs.problems()
        errors = worker.errors
        statuses += [
            sensors_status(worker.last, inputs, stream.silent_s()),
            latency_status(stream.latency.percentiles()),
            worker_status(worker.steps, worker.resets, errors, self._errors),
            choice_status(stream.inputs.verdicts),
            latent_status(worker.last),
            forecast_status(worker.last, stream.forecast_scores()),
            *input_statuses(inputs, self._inputs, problems),
        ]
        self._inputs, self._errors = inputs, errors.total()
        return statuses


def node_status(lifecycle: str, pipeline: WorldModelPipeline | None, device: str, topics: list[str]) -> DiagnosticStatus:
    """Lifecycle state, topics, model and device."""
    values: dict[str, Any] = {"lifecycle": lifecycle, "topics": ", ".join(topics)}
    if pipeline is not None:
        values |= {"model": pipeline.spec.name, "version": pipeline.spec.version, "device": device}
    return status("node", OK if lifecycle == "active" else WARN, lifecycle, values)


def status(name: str, level: bytes, message: str, values: Mapping[str, Any]) -> DiagnosticStatus:
    """One status of the world_model node; floats are rounded to four digits."""
    pairs = [KeyValue(key=key, value=f"{value:.4g}" if isinstance(value, float) else str(value)) for key, value in values.items()]
    return DiagnosticStatus(name=f"world_model: {name}", hardware_id="jepa_ros", level=level, message=message, values=pairs)


def latency_status(percentiles: Mapping[str, tuple[float, float]]) -> DiagnosticStatus:
    """p50 and p99 of each stage, ms."""
    values: dict[str, float] = {}
    for stage, (p50, p99) in percentiles.items():
        values[f"latency.{stage}.p50_ms"] = p50
        values[f"latency.{stage}.p99_ms"] = p99
    message = f"end to end p99 {percentiles['end_to_end'][1]:.0f} ms" if "end_to_end" in percentiles else "nothing processed yet"
    return status("latency", OK, message, values)


def input_statuses(
    inputs: Mapping[str, InputStatus], before: Mapping[str, InputStatus], problems: Mapping[str, str]
) -> list[DiagnosticStatus]:
    """One for each input. `before`: the last report, so that a warning ends when its cause does. `problems`: of how messages come."""
    unheard = [status(f"input {name}", WARN, problem, {}) for name, problem in sorted(problems.items()) if name not in inputs]
    return [_input_status(name, now, before.get(name), problems.get(name)) for name, now in sorted(inputs.items())] + unheard


def _input_status(name: str, now: InputStatus, before: InputStatus | None, problem: str | None) -> DiagnosticStatus:
    earlier = before.malformed if before else now.malformed  # in the first second images may come before their CameraInfo
    fresh = {reason: count for reason, count in now.malformed.items() if count > earlier.get(reason, 0)}
    values = {
        "kind": now.kind,
        "received": now.received,
        "used": now.used,
        "dropped_newest_wins": now.dropped_newest_wins,
        "stale": now.stale,
        "malformed": sum(now.malformed.values()),
        **{f"malformed.{reason}": count for reason, count in sorted(now.malformed.items())},
        **{f"notice.{what}": notice for what, notice in sorted(now.notices.items())},
    }
    reasons = [*now.notices.values(), *([problem] if problem else [])]
    if now.lost:
        return status(f"input {name}", ERROR, "; ".join(["lost: no usable message, while other sensors continue", *reasons]), values)
    if fresh:
        return status(f"input {name}", WARN, "; ".join([f"malformed: {', '.join(sorted(fresh))}", *reasons]), values)
    if reasons:
        return status(f"input {name}", WARN, "; ".join(reasons), values)
    return status(f"input {name}", OK, "receiving", values)


SILENT_S = 2.0  # of all sensors; how long one may be silent while others go on is sensing.lost_after_s


def sensors_status(state: SceneState | None, inputs: Mapping[str, InputStatus], silent_s: float | None = None) -> DiagnosticStatus:
    """Which sensors the newest output came from, and which are missing in it."""
    used = state.sensors if state else ()
    present = {kind for kind in ("lidar", "camera") if any(entry.kind == kind for entry in inputs.values())}
    names = {kind: [name for name, entry in inputs.items() if entry.kind == kind] for kind in present}
    gone = sorted(name for kind in present for name in names[kind] if inputs[name].lost)
    lost = sorted(kind for kind in present if set(names[kind]) <= set(gone))
    values = {"in_use": ", ".join(used) or "none", "lost": ", ".join(lost) or "none", "lost_inputs": ", ".join(gone) or "none"}
    if not present:
        return status("sensors", WARN, "no image or cloud has come yet: are the drivers running, in this namespace and domain?", values)
    if silent_s is not None and silent_s > SILENT_S:
        return status(
            "sensors", WARN, f"all sensors are silent, for {silent_s:.1f} s now: is the robot's driver, or its bag, running?", values
        )
    if lost == sorted(present):
        return status("sensors", ERROR, "all sensors lost", values)
    if lost:
        return status("sensors", WARN, f"{' and '.join(sorted(present - set(lost)))} only: {', '.join(lost)} lost", values)
    if gone:
        return status("sensors", WARN, f"{', '.join(gone)} lost, others of this kind continue", values)
    return status("sensors", OK, " + ".join(used) or "waiting", values)


def worker_status(steps: int, resets: int, errors: Counter[str], errors_before: int) -> DiagnosticStatus:
    """Steps, resets and errors of the worker thread; an error since the last report is level ERROR."""
    values: dict[str, Any] = {"steps": steps, "history_cleared": resets, "errors": errors.total()}
    values |= {f"error.{number}": f"{count} x {text}" for number, (text, count) in enumerate(errors.most_common(5))}
    if errors.total() > errors_before:
        return status("worker", ERROR, f"the last steps failed: {next(reversed(errors))}", values)
    return status("worker", OK, "running" if steps else "no step yet", values)


def choice_status(verdicts: Sequence[Verdict]) -> DiagnosticStatus:
    """Which topics were taken for sensors, which were left, and why."""
    taken = [verdict for verdict in verdicts if verdict.taken]
    values = {f"{verdict.role} {verdict.topic}": str(verdict).split(": ", 1)[1] for verdict in verdicts}
    if not verdicts:
        return status("choice", OK, "no candidate yet", values)  # `sensors` warns of it
    if not taken and all(verdict.why == NOT_YET for verdict in verdicts):
        return status("choice", OK, f"{len(verdicts)} topics found, no message yet", values)
    return status("choice", OK if taken else WARN, f"{len(taken)} taken, {len(verdicts) - len(taken)} left", values)


def latent_status(state: SceneState | None) -> DiagnosticStatus:
    """Surprise, and whether the latents have collapsed."""
    if state is None:
        return status("latent", OK, "no latent yet", {})
    rank, deviation = latent_health(state.latent)
    width = state.latent.shape[-1]
    values = {"surprise": float(state.surprise), "effective_rank": rank, "width": width, "mean_std": deviation}
    if not np.isfinite(state.latent).all():
        return status("latent", ERROR, "latents are not finite", values)
    if rank < COLLAPSED_RANK * width:
        return status("latent", WARN, f"latents have collapsed: effective rank {rank:.1f} of {width}", values)
    if np.isnan(state.surprise):
        return status("latent", OK, "surprise is not scored yet: it takes ten judged predictions, and frames at 1.7 Hz or more", values)
    return status("latent", OK, f"surprise {state.surprise:.2f}", values)


def forecast_status(state: SceneState | None, scores: Mapping[str, float]) -> DiagnosticStatus:
    """People now, and how earlier forecasts compare with what people then did."""
    count = len(state.people.ids) if state else 0
    return status("pedestrians", OK, f"{count} people", {"people": count, **scores})


def latent_health(latent_ND: FloatArray) -> tuple[float, float]:
    """Effective rank (Roy & Vetterli 2007: exponential of the spectrum's entropy) and mean per-dimension deviation of (N, D) latents."""
    if not np.isfinite(latent_ND).all() or len(latent_ND) < 2:
        return 0.0, 0.0
    covariance = np.atleast_2d(np.cov(latent_ND.astype(np.float64), rowvar=False))
    spectrum = np.sqrt(np.clip(np.linalg.eigvalsh(covariance), 0.0, None))
    deviation = float(np.sqrt(np.diag(covariance)).mean())
    if spectrum.sum() <= 0:
        return 0.0, deviation
    share = spectrum[spectrum > 0] / spectrum.sum()
    return float(np.exp(-(share * np.log(share)).sum())), deviation
