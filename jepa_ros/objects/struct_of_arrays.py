"""Dataclasses of arrays of one length, a row for each thing: columns of returns, tracks."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

R = TypeVar("R", bound="StructOfArrays")


class StructOfArrays:
    """For a dataclass whose fields are all arrays of the same length."""

    def take(self: R, index: NDArray[Any]) -> R:
        return type(self)(*(getattr(self, name)[index] for name in self._names()))

    def join(self: R, other: R) -> R:
        return type(self)(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in self._names()))

    def _names(self) -> list[str]:
        return [column.name for column in fields(self)]  # type: ignore[arg-type]  # of whoever inherits
