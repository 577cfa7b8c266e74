"""Files of arrays that trainings gather and go on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def write_arrays(path: Path, **arrays: Any) -> None:
    """One compressed npz file, whole or not at all: a run that is stopped while it writes leaves none behind that looks finished."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".partial")
    with unfinished.open("wb") as file:
        np.savez_compressed(file, **arrays)
    unfinished.replace(path)
