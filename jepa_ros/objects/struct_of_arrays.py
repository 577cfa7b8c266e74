"""Dataclasses of arrays of one length, a row for each thing: columns of returns, tracks. Rows of arrays."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

R = TypeVar("R", bound="StructOfArrays")


def bounded(numbers: NDArray[Any], last: int) -> NDArray[Any]:
    """Whole numbers held between 0 and `last`, in their place; `np.clip` first looks up what range their type has."""
    return np.minimum(np.maximum(numbers, 0, out=numbers), last, out=numbers)


def picked(points: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[Any]:
    """(M, K) rows of (N, K), stored coordinate by coordinate, as sweeps are: all that follows reads one coordinate at a time."""
    return points.T.take(rows, axis=1).T


class StructOfArrays:
    """For a dataclass whose fields are all arrays of the same length."""

    def take(self: R, index: NDArray[Any]) -> R:
        """The rows at `index`, numbers or a mask."""
        if index.dtype == np.bool_:
            if index.all():
                return self
            index = np.flatnonzero(index)
        return self.changed(**{name: values.take(index, axis=0) for name, values in vars(self).items()})

    def join(self: R, other: R) -> R:
        """These rows, then the other ones."""
        return self.changed(**{name: np.concatenate((values, getattr(other, name))) for name, values in vars(self).items()})

    def changed(self: R, **arrays: NDArray[Any]) -> R:
        """With some of the arrays replaced, as `dataclasses.replace` does, in a fraction of its time."""
        other = object.__new__(type(self))
        vars(other).update(vars(self), **arrays)
        return other
