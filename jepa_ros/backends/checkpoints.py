"""Reads published checkpoint files and loads them strictly: all of it or a clear error, never a silent part, never code from a pickle."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]
WRAPPERS = ("module.", "backbone.")  # left in the keys by DistributedDataParallel and by the reference's multi-mask wrapper


def read_checkpoint(path: str | Path) -> dict[str, Weights]:
    """The named parts of a `.pt` file, each a state dict with the wrappers' prefixes removed.

    Only tensors and plain containers are unpickled. Raises ValueError for a missing, truncated or foreign file and for one that holds code.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such checkpoint file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: refused, since it holds more than tensors and could run code when unpickled ({error})") from error
    except (RuntimeError, EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a readable checkpoint, perhaps cut short in the download ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}, expected a dict with parts such as 'encoder' and 'predictor'")
    return {name: _unwrapped(part) for name, part in content.items() if _is_weights(part)}


def part_of(parts: dict[str, Weights], names: Iterable[str], path: str | Path) -> Weights:
    """The first of `names` that the checkpoint has. Raises ValueError naming what was looked for and what is there."""
    names = tuple(names)
    for name in names:
        if name in parts:
            return parts[name]
    raise ValueError(f"{path}: holds the parts {sorted(parts)}, expected one of {list(names)}")


def load_strictly(module: nn.Module, weights: Weights, where: str, unused: Iterable[str] = ()) -> None:
    """Put `weights` into `module`. Every key must be known, present and of the right shape, but for those in `unused`, which are left out.

    The tensors are taken over as they are (no copy), so a module made on the meta device costs no second set of weights.
    Raises ValueError naming the keys and shapes at fault.
    """
    expected = module.state_dict()
    given = {key: value for key, value in weights.items() if key not in set(unused)}
    faults = [f"missing {key}" for key in expected if key not in given]
    faults += [f"unexpected {key}" for key in given if key not in expected]
    faults += [
        f"{key} is {tuple(given[key].shape)}, the configuration needs {tuple(value.shape)}"
        for key, value in expected.items()
        if key in given and given[key].shape != value.shape
    ]
    if faults:
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise ValueError(f"{where}: the weights do not fit {type(module).__name__}: {'; '.join(faults[:5])}{more}")
    module.load_state_dict(given, strict=True, assign=True)


def fingerprint(weights: Weights) -> str:
    """A short name for these very weights: latents of others must not be mixed with theirs."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(key.encode() + weights[key].flatten()[:64].float().numpy().tobytes())
    return digest.hexdigest()[:12]


def _is_weights(part: object) -> bool:
    return isinstance(part, dict) and bool(part) and all(isinstance(value, Tensor) for value in part.values())


def _unwrapped(part: Weights) -> Weights:
    def bare(key: str) -> str:
        while key.startswith(WRAPPERS):
            key = next(key.removeprefix(wrapper) for wrapper in WRAPPERS if key.startswith(wrapper))
        return key

    return {bare(key): value for key, value in part.items()}
