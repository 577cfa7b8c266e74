"""Numerics take the threads that they were given, in whatever thread of a process they run."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from test_pipeline import observation

from jepa_ros.pipeline import WorldModelPipeline
from jepa_ros.threads import TURN_S, quick_turns

IN_ANOTHER_THREAD = """
import os, threading
import numpy as np, torch
from jepa_ros.pipeline import WorldModelPipeline
from jepa_ros.types import EgoState, LidarSweep, Observation

torch.set_num_threads(1)
torch.cpu._is_avx512_bf16_supported = lambda: False  # an ordinary processor
points = np.random.default_rng(0).uniform((-9, -9, 0), (9, 9, 2), (4000, 3)).astype(np.float32)
sweep = LidarSweep(0, points, None, None, None, np.eye(4))
pipeline = WorldModelPipeline.load(device="cpu")
before = len(os.listdir("/proc/self/task"))
seen = []

def work():
    for stamp_ns in (0, 400_000_000, 800_000_000):  # what was seen before is moved from the second step on
        pose = np.eye(4)
        pose[0, 3] = stamp_ns * 1e-9
        pipeline.step(Observation(stamp_ns, EgoState(stamp_ns, pose, np.zeros(2)), sweep, ()))
    seen.append(len(os.listdir("/proc/self/task")))

thread = threading.Thread(target=work)
thread.start()
thread.join()
print("more threads:", seen[0] - before - 1)
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2 or not os.path.isdir("/proc/self/task"), reason="needs two cores and Linux")
def test_a_step_in_another_thread_takes_no_more_cores_than_torch_was_given() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MKL_"))}
    told = subprocess.run([sys.executable, "-c", IN_ANOTHER_THREAD], capture_output=True, text=True, env=environment, check=True).stdout
    assert "more threads: 0" in told


KEPT = """
import resource
import numpy as np
from jepa_ros.threads import keep_freed_memory
assert keep_freed_memory() is True
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(250_000)  # 2 MB, 488 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's memory alone")
def test_memory_that_was_given_back_is_used_again() -> None:
    told = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    assert int(told.stdout) < 1000  # 9,760 where each array is mapped anew


CUT_UP = """
import numpy as np
from jepa_ros.threads import give_back_freed_memory, keep_freed_memory
keep_freed_memory()
def held_mb():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) / 1024
before = held_mb()
kept = [(np.ones(125_000), np.ones(1_000)) for _ in range(60)]  # 1 MB each, with something small after it
kept = [small for _, small in kept]
freed = held_mb() - before
assert give_back_freed_memory()
print(freed, held_mb() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's memory alone")
def test_memory_between_things_that_live_on_goes_back_to_the_system() -> None:
    """Kept, it is what makes a node grow: 60 MB are free, and no array of 2 MB fits in."""
    told = subprocess.run([sys.executable, "-c", CUT_UP], capture_output=True, text=True, check=True)
    freed_mb, left_mb = map(float, told.stdout.split())
    assert freed_mb > 50.0
    assert left_mb < 5.0


def test_turns_are_quick_while_anybody_computes_and_as_before_afterwards() -> None:
    usual_s = sys.getswitchinterval()
    one, other = quick_turns, quick_turns
    with one:
        with other:
            assert sys.getswitchinterval() == pytest.approx(TURN_S)
        assert sys.getswitchinterval() == pytest.approx(TURN_S)
    assert sys.getswitchinterval() == pytest.approx(usual_s)
    with pytest.raises(ValueError, match="of the work"), quick_turns:
        raise ValueError("of the work")
    assert sys.getswitchinterval() == pytest.approx(usual_s)


def test_whoever_set_even_quicker_turns_keeps_them() -> None:
    usual_s = sys.getswitchinterval()
    try:
        sys.setswitchinterval(TURN_S / 10)
        with quick_turns:
            assert sys.getswitchinterval() == pytest.approx(TURN_S / 10)
    finally:
        sys.setswitchinterval(usual_s)


def test_a_step_is_taken_with_quick_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen_s = WorldModelPipeline.load("persistence", device="cpu"), []
    monkeypatch.setattr(model.model, "encode", lambda told, of=model.model.encode: (seen_s.append(sys.getswitchinterval()), of(told))[1])
    model.step(observation(0.0, np.random.default_rng(0)))
    assert seen_s == [pytest.approx(TURN_S)]
