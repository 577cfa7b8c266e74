"""The back-ends by name: our own, and those of installed packages (entry points `jepa_ros.backends`; docs/add_a_backend.md).

Nothing is imported until its name is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from jepa_ros.extensions import Loader, Registry
from jepa_ros.protocols import WorldModel


def _lazy(module: str, extra: str | None = None) -> Loader:
    """A loader that imports `module` on first use and calls its `load(device, **options)`; a missing package names the pip extra."""

    def load(device: str, **options: Any) -> WorldModel:
        try:
            loader = import_module(module).load
        except ModuleNotFoundError as error:
            fix = f"pip install 'jepa_ros[{extra}]'" if extra else f"pip install {error.name}"
            raise ValueError(f"back-end module {module} needs the package {error.name!r}: {fix}") from error
        return loader(device, **options)

    return load


# Each is loader(device, **options) -> WorldModel.
BACKENDS = Registry(
    "jepa_ros.backends",
    {
        "scene_jepa": _lazy("jepa_ros.backends.scene_jepa.model"),
        "persistence": _lazy("jepa_ros.backends.persistence"),
        "vjepa2": _lazy("jepa_ros.backends.vjepa2", extra="hub"),
        "vjepa2_ac": _lazy("jepa_ros.backends.vjepa2_ac.model", extra="hub"),
        "ijepa": _lazy("jepa_ros.backends.ijepa", extra="hub"),
        "arm": _lazy("jepa_ros.backends.arm.model"),
        "frozen": _lazy("jepa_ros.backends.frozen.model"),
    },
)
