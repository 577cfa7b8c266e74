"""Judges a fault: which process died, what was planned on stale or unseen data, how late answers were, and when it recovered."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np

from experiments.faults.robot import UNANSWERED, Robot
from experiments.faults.scenarios import Fault

HEALTHY_S = 30.0  # so long may it take until plans are good before a fault
FAULT_S = 6.0
RECOVERY_S = 60.0  # the model is loaded again after a kill
LATE_S = 0.010
AGE_SLACK_S = 0.2  # from the planner's answer until the client reads the robot's clock
SPEED_AT_REST_MPS = 0.05
STOP_S = 2.5


@dataclass(frozen=True)
class Result:
    """One fault and what was seen."""

    name: str
    died: tuple[str, ...]  # processes that ended though nobody killed them
    statuses: dict[str, int]  # of the plan requests while the fault lasted
    ok_on_old: int  # plans that were OK on a forecast older than the limit
    late: int  # answers later than the deadline and 10 ms
    said: str  # by the last refusal
    told: dict[str, str]  # by /diagnostics while the fault lasted: status -> message, where it was not OK
    stopped: bool  # where no plan was OK: the robot stood at the end of the fault
    recovered_s: float  # until five answers in a row were planned on fresh data again; infinite where it never came to that

    @property
    def held(self) -> bool:
        return not self.died and not self.ok_on_old and self.stopped and math.isfinite(self.recovered_s)


def judge(robot: Robot, name: str, fault: Fault) -> Result:
    """Run one fault. Raises RuntimeError where the robot was not well before it."""
    begun_s = time.monotonic()
    if not robot.wait(lambda: robot.well(begun_s), HEALTHY_S * robot.patience):
        last = robot.since(begun_s)[-1:]
        raise RuntimeError(f"before {name!r} the robot was not well within {HEALTHY_S * robot.patience:.0f} s; the last answer was {last}")
    killed = {word for word in ("world_model", "planner", "simulator") if f"{word} killed" in name}
    fault_s = time.monotonic()
    robot.told.clear()
    with fault(robot):
        time.sleep(FAULT_S)
        told = dict(robot.told)
        during = robot.since(fault_s)
        died = tuple(process for process, running in robot.processes.items() if process not in killed and not running.running())
        refused = bool(during) and all(one.status != "OK" for one in during[-5:])
        stopped = (
            not refused or "simulator" in killed or robot.wait(lambda: robot.gate.speed_mps < SPEED_AT_REST_MPS, STOP_S * robot.patience)
        )
    healed_s = time.monotonic()
    well = robot.wait(lambda: robot.well(healed_s), RECOVERY_S * robot.patience)
    # The oldest age is left out: what was asked before the fault was felt was planned on good data.
    felt = [one for one in during if one.at_s > fault_s + robot.max_age_s]
    return Result(
        name=name,
        died=died,
        statuses=dict(Counter(one.status for one in felt)),
        ok_on_old=sum(one.status == "OK" and one.age_s > robot.max_age_s + AGE_SLACK_S for one in felt),
        late=sum(one.took_s > robot.deadline_s + LATE_S for one in felt if one.status != UNANSWERED),
        said=next((one.message for one in reversed(felt) if one.status not in ("OK", UNANSWERED)), ""),
        told=told,
        stopped=stopped,
        recovered_s=time.monotonic() - healed_s if well else math.inf,
    )


def lateness_ms(robot: Robot) -> dict[str, float]:
    """What answers took beyond their deadline, over the whole campaign."""
    late = [1e3 * max(0.0, one.took_s - robot.deadline_s) for one in robot.asked if one.status != UNANSWERED]
    return dict(zip(("p50", "p99", "p99.9", "max"), np.percentile(late, (50, 99, 99.9, 100)).round(1).tolist(), strict=True))
