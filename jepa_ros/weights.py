"""Finds the shipped weights, in a source tree and in an installation alike."""

from __future__ import annotations

from pathlib import Path


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
