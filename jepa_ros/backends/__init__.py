"""World models behind one seam: `load_world_model(name)`."""

from __future__ import annotations

from typing import Any

import torch

from jepa_ros.backends.registry import BACKENDS
from jepa_ros.protocols import WorldModel

__all__ = ["BACKENDS", "check_name", "load_world_model", "resolve_device"]


def resolve_device(device: str) -> str:
    """ "auto" -> "cuda" where a GPU answers, else "cpu"; other names are checked and returned. Raises ValueError for an unusable one."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={device!r} cannot be used here ({error}); choose 'auto', 'cpu' or 'cuda:N'") from error
    return device


def check_name(name: str) -> None:
    """Raises ValueError for an unknown back-end, with the names that there are."""
    if name not in BACKENDS:
        raise ValueError(f"unknown world model {name!r}; choose one of {', '.join(sorted(BACKENDS))}")


def load_world_model(name: str, device: str = "auto", **options: Any) -> WorldModel:
    """Load a back-end of `registry.BACKENDS`, ready for inference on `device`.

    options: what the back-end's own `load(device, **options)` takes, for example `weights=PATH` for scene_jepa.
    Raises ValueError for an unknown name (listing the known ones), a missing package (naming the command) or an unusable device.
    """
    check_name(name)
    return BACKENDS[name](resolve_device(device), **options)
