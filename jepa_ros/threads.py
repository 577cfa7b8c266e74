"""How many threads numerics take.

Matrix products of NumPy and SciPy are small here. OpenBLAS, whoever imported it first, would split them over all cores, and its threads
spin while they wait, against those of torch: with two torch threads a step took 290 ms where 140 are enough. torch's own threads are
`torch.set_num_threads`, and not changed here, but heeded.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

try:
    from threadpoolctl import ThreadpoolController
except ModuleNotFoundError:  # an apt home without it: OPENBLAS_NUM_THREADS=1 does the same, if it is set before NumPy is imported
    ThreadpoolController = None


@lru_cache(maxsize=1)
def _libraries() -> Any:
    """Those that are loaded when this is first asked: by then NumPy and SciPy are."""
    import scipy.linalg  # noqa: F401 - loads its own OpenBLAS

    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[object]:
    """`with one_blas_thread(): ...`; what the user has set holds again afterwards."""
    if ThreadpoolController is None:
        return nullcontext()
    limited: AbstractContextManager[object] = _libraries().limit(limits=1, user_api="blas")
    return limited


def heed_torch_threads() -> None:
    """To be called in each thread that computes with torch: from then on it takes as many threads as `torch.set_num_threads` said.

    That number reaches OpenMP thread by thread, when torch first looks it up there. Convolutions do not look it up: where nothing else did
    before, they take all cores, whose threads then wait for each other by spinning.
    """
    import torch

    torch.get_num_threads()
