"""How a demo ran: whether this machine kept up, which stage took the longest, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from jepa_ros.backends.surprise import OFF_STEP, WARM_UP
from jepa_ros.ros.tools.output_log import OutputLog

BESIDE = ("transport", "receive", "end_to_end")  # waiting, or the sum of all: no work of the node's
PUBLISHING = ("publish", "score")  # done in a thread of its own, beside the next step
SIDE_BY_SIDE = (  # in a step; of each pair the longer counts, see `WorldModelPipeline`
    (("encode", "predict", "sight"), ("people", "forecast")),
    (("occupancy",), ("surprise",)),  # begun earlier where the second thread has time
)
KEPT_UP = 0.02  # share of frames whose loss is no reason for advice
MODEL_STEP_S = 0.4


def run_report(log: OutputLog) -> dict[str, Any]:
    """For summary.json. `real_time_factor`: seconds of the bag per second of the wall, 1 where the player kept its pace."""
    work_ms = {stage: ms for stage, ms in log.stage_latencies_ms("p50").items() if stage not in BESIDE}
    busy_ms = busiest_thread_ms(work_ms)
    slowest = max(work_ms, key=lambda stage: work_ms[stage], default=None)
    gaps_s = [(later - earlier) / 1e9 for earlier, later in pairwise(sorted(log.surprise))]
    report = {
        "real_time_factor": round(log.played_s / log.took_s, 3) if log.took_s else None,
        "frames_dropped": log.frames_in - log.frames_processed,
        "frames_per_second_in": round((log.frames_in - 1) / log.played_s, 2) if log.played_s else None,
        "frames_per_second_possible": round(1e3 / busy_ms, 2) if busy_ms else None,
        "gap_between_frames_s": {"p50": round(float(np.median(gaps_s)), 3), "longest": round(max(gaps_s), 3)} if gaps_s else None,
        "slowest_stage": slowest,
        "slowest_stage_ms": round(work_ms[slowest], 1) if slowest else None,
    }
    return report | {"advice": advice(log, report, busy_ms)}


def busiest_thread_ms(stages_ms: Mapping[str, float]) -> float:
    """How long a frame keeps what works longest at it: the step, or publishing. Frames that come more often are dropped."""

    def together_ms(stages: Iterable[str]) -> float:
        return sum(stages_ms.get(stage, 0.0) for stage in stages)

    beside = {stage for pair in SIDE_BY_SIDE for stages in pair for stage in stages}
    alone_ms = together_ms(stage for stage in stages_ms if stage not in {*PUBLISHING, *BESIDE, *beside})
    step_ms = alone_ms + sum(max(together_ms(one), together_ms(other)) for one, other in SIDE_BY_SIDE)
    return max(together_ms(PUBLISHING), step_ms)


def advice(log: OutputLog, report: dict[str, Any], busy_ms: float) -> str:
    """One line for people: kept up, or what was dropped, why, and what to do."""
    if not log.frames_processed:
        return "no frame came through: see `complaints`, world_model.log and planner.log"
    dropped, told = report["frames_dropped"], f"{log.frames_processed} of {log.frames_in} frames processed"
    if dropped <= KEPT_UP * log.frames_in:
        return f"{told}: this machine keeps up"
    text = f"{told}, {dropped} dropped, the newest first served: a frame takes {busy_ms:.0f} ms"
    if report["frames_per_second_in"]:
        text += f" and one comes every {1e3 / report['frames_per_second_in']:.0f} ms"
    return (
        f"{text}; slowest is {report['slowest_stage']} ({report['slowest_stage_ms']} ms). "
        "Close what else runs, set the parameter `threads` of world_model, use a GPU (`device`), play slower (--rate 0.5), "
        "or let `make replay` process every frame at the machine's own pace"
    )


def surprise_note(log: OutputLog) -> str | None:
    """Why no surprise was scored, where none was."""
    if np.isfinite(list(log.surprise.values())).any() or not log.surprise:
        return None
    stamps = sorted(log.surprise)
    apart_s = float(np.median(np.diff(stamps))) / 1e9 if len(stamps) > 1 else 0.0
    longest_s = (1 + OFF_STEP) * MODEL_STEP_S
    if apart_s > longest_s:
        return (
            f"surprise was not scored: frames are {apart_s:.2f} s apart, and predictions are judged {longest_s:.1f} s ahead at most; "
            f"it takes {1 / longest_s:.1f} Hz or more"
        )
    return f"surprise was not scored: it takes {WARM_UP} judged predictions first, and the bag has {len(stamps)} frames"


def picture_note(log: OutputLog) -> str:
    """For the head of the picture: frames, and how many plans were OK; the summary has the other answers."""
    dropped = log.frames_in - log.frames_processed
    frames = f"{log.frames_processed} of {log.frames_in} frames" + (f", {dropped} dropped" if dropped > 0 else "")
    answers = log.by_status()
    plans = f"{answers.get('OK', 0)} of {sum(answers.values())} plans OK" if answers else "no plan answered"
    return f"{frames}     {plans}"
