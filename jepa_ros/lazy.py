"""A dataclass field that may be given as a function: an expensive value is computed once, when it is first read."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Lazy(Generic[T]):
    """`field: Lazy[T] = Lazy()` in a dataclass. The field takes a value or a function without arguments, and reads as the value.

    Any thread may read it; an exception of the function reaches the reader, and the next one tries again.
    """

    _lock = threading.Lock()  # guards the making of locks, not of values

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_lazy_{name}"

    def __set__(self, instance: object, value: T | Callable[[], T]) -> None:
        instance.__dict__[self._name] = (value, threading.Lock() if callable(value) else None)

    def __get__(self, instance: Any, owner: type) -> T:
        if instance is None:
            raise AttributeError(self._name)  # so that dataclasses see a field without a default
        value, lock = instance.__dict__[self._name]
        if lock is None:
            return value
        with lock:
            value, unmade = instance.__dict__[self._name]
            if unmade is not None:
                value = value()
                instance.__dict__[self._name] = (value, None)
        return value


def replaced(instance: T, **changes: Any) -> T:
    """`dataclasses.replace` that reads no lazy field: the copy takes those from the original when somebody reads them."""
    unread = {name: partial(getattr, instance, name) for name, value in vars(type(instance)).items() if isinstance(value, Lazy)}
    copy: T = dataclasses.replace(instance, **{**unread, **changes})  # type: ignore[type-var]  # T is a dataclass
    return copy
