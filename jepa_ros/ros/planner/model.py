"""The planner's own world model for `imagine` and `plan_actions`, loaded when one of them is first asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

from jepa_ros.backends import BACKENDS, load_world_model, resolve_device
from jepa_ros.planning import CostWeights
from jepa_ros.planning.example_scene import crowd_scene
from jepa_ros.planning.imagined.motions import imagine
from jepa_ros.planning.people import people_future
from jepa_ros.protocols import ActionMeaning, ModelSpec, WorldModel
from jepa_ros.threads import heed_torch_threads


class NotLoaded(Exception):
    """The model is unknown or could not be loaded; the text says why."""


class ModelOnDemand:
    """Loads in a thread of its own when it is first asked for, so that paths are planned meanwhile."""

    def __init__(self, name: str, device: str, weights: str, on_loaded: Callable[[ModelSpec], None]) -> None:
        """name: empty = none. on_loaded: called with the model's description before its first use. Raises ValueError for an unknown
        name or device."""
        if name and name not in BACKENDS:
            raise ValueError(f"unknown world model {name!r}; choose one of {', '.join(sorted(BACKENDS))}")
        self.device = resolve_device(device)
        self._name = name
        self._options = {"weights": weights} if weights else {}
        self._on_loaded = on_loaded
        self._model: WorldModel | None = None
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None

    @classmethod
    def of(cls, model: WorldModel | None) -> ModelOnDemand:
        """One that is loaded already, or None."""
        there = cls("", "cpu", "", lambda spec: None)
        there._model = model
        return there

    def load(self) -> None:
        """Load it now and wait. Exceptions of the back-end pass through."""
        if not self._name or self._model is not None:
            return
        model = load_world_model(self._name, device=self.device, **self._options)
        if model.spec.actions is ActionMeaning.POSE:
            imagine_something(model, self.device)
        self._on_loaded(model.spec)
        self._model = model

    def get(self, for_what: str) -> WorldModel:
        """The model. Raises NotLoaded without one, TimeoutError while it is being loaded, which the first call begins."""
        if self._model is not None:
            return self._model
        if not self._name:
            raise NotLoaded(f"{for_what} needs a world model: set the parameter `model` and configure again")
        if self._failure is not None:
            raise NotLoaded(f"{for_what} needs the world model {self._name!r}, which cannot be loaded: {self._failure}")
        if self._thread is None:
            self._thread = threading.Thread(target=self._try_to_load, name="planner_model", daemon=True)
            self._thread.start()
        raise TimeoutError(
            f"{for_what} needs the world model {self._name!r}, which is being loaded since the first request for it: ask again in a few "
            "seconds (model_at_start:=true loads it at configure)"
        )

    def _try_to_load(self) -> None:
        heed_torch_threads()
        try:
            self.load()
        except Exception as error:  # whatever a back-end raises is the answer to those who ask
            self._failure = error


def imagine_something(model: WorldModel, device: str) -> None:
    """The first request must not pay for lazy set-up."""
    spec = model.spec
    history_TND = torch.zeros(spec.history, *spec.latent_shape, device=device)
    imagine(model, history_TND, torch.zeros(1, spec.horizon, 3), people_future(crowd_scene(), 0.5), 0.5, CostWeights())
