"""Finds the shipped weights, in a source tree and in an installation alike, and reads files of ours."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def find_weights(name: str) -> Path:
    """Path of a shipped weights file, for example "scene_jepa.safetensors" or "eth_ucy_loo/eth.safetensors".

    Looks in `weights/` beside the package (a source tree), then in `share/jepa_ros/weights` of the prefix that the package is
    installed in (colcon, pip). Raises FileNotFoundError with the places searched.
    """
    package = Path(__file__).absolute().parent
    places = [package.parent / "weights", *(parent / "share" / "jepa_ros" / "weights" for parent in package.parents)]
    for place in places:
        if (place / name).is_file():
            return place / name
    searched = ", ".join(str(place) for place in places[:4])
    raise FileNotFoundError(
        f"no shipped weights {name!r}; searched {searched} ... Give a path, or rebuild the package so that weights/ is installed."
    )


def read_safetensors(path: str | Path, fix: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a .safetensors file. `fix`: what to do where there is none, for the error.

    Raises ValueError where the file is missing or cannot be read.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path} does not exist; {fix}")
    try:
        with safe_open(str(path), framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a safetensors file ({error}); {fix}") from error


def read_weights(path: str | Path, format: str, fix: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The same of a file whose metadata names its format. Raises ValueError where it holds another one, too."""
    metadata, tensors = read_safetensors(path, fix)
    if metadata.get("format") != format:
        raise ValueError(f"{path} holds {metadata.get('format', 'something else')!r}, not {format!r}; {fix}")
    return metadata, tensors


def filled(network: Network, tensors: dict[str, Tensor], path: str | Path, fix: str) -> Network:
    """The network with these weights, for inference. Raises ValueError where they are of another one."""
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit this version: {error}; {fix}") from error
    return network.eval().requires_grad_(False)
