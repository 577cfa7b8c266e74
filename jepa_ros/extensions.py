"""Finds back-ends, forecasters and detectors of installed packages through Python's entry points.

An entry point `NAME = "module:function"` in the package's `pyproject.toml` makes `NAME` known. Our own parts are listed in code, not in
entry points: colcon installs this package without the metadata that entry points are read from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import Any

Loader = Callable[..., Any]


class Registry(Mapping[str, Loader]):
    """The parts of one kind by name: our own, then those that installed packages offer. Nothing is imported before its loader is called."""

    def __init__(self, group: str, own: Mapping[str, Loader]) -> None:
        """group: of the entry points, for example "jepa_ros.backends". own: the names that nobody else can take."""
        self.group = group
        self._own = dict(own)

    def __getitem__(self, name: str) -> Loader:
        """Raises KeyError for an unknown name, ValueError where two packages offer the same one."""
        if name in self._own:
            return self._own[name]
        offers = {point.value: point for point in self._offers() if point.name == name}
        if not offers:
            raise KeyError(name)
        if len(offers) > 1:
            packages = " and ".join(sorted(_package(point) for point in offers.values()))
            raise ValueError(f"{self.group}: {name!r} is offered by {packages}; uninstall one of them")
        return _loader(next(iter(offers.values())))

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from sorted({point.name for point in self._offers()} - set(self._own))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _offers(self) -> list[metadata.EntryPoint]:
        # Looked up anew each time: it takes milliseconds, is done when something is loaded, and sees a package that was just installed.
        return list(metadata.entry_points(group=self.group))


def _loader(point: metadata.EntryPoint) -> Loader:
    def load(*args: Any, **options: Any) -> Any:
        try:
            function = point.load()
        except (ImportError, AttributeError) as error:
            raise ValueError(f"{point.name!r} ({point.group}) of {_package(point)} cannot be loaded from {point.value}: {error}") from error
        return function(*args, **options)

    return load


def _package(point: metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
