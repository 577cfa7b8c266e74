"""One line of the doctor's page, and the page."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass


class Level(enum.IntEnum):
    """How bad it is; the worst one is the exit status of the doctor."""

    OK = 0
    WARN = 1  # it works, worse than it could
    ERROR = 2  # it does not work


@dataclass(frozen=True)
class Finding:
    """`what` is a topic, a frame, a node or a part of the machine."""

    level: Level
    what: str
    text: str
    fix: str = ""  # never empty where something is wrong

    def __post_init__(self) -> None:
        assert self.fix or self.level is Level.OK, self


def good(what: str, text: str) -> Finding:
    """As it should be."""
    return Finding(Level.OK, what, text)


def warning(what: str, text: str, fix: str) -> Finding:
    """It works, worse than it could."""
    return Finding(Level.WARN, what, text, fix)


def error(what: str, text: str, fix: str) -> Finding:
    """It does not work."""
    return Finding(Level.ERROR, what, text, fix)


def worst(findings: Iterable[Finding]) -> Level:
    """The exit status."""
    return max((finding.level for finding in findings), default=Level.OK)


def sorted_once(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first, each thing once."""
    return sorted(dict.fromkeys(findings), key=lambda finding: -finding.level)


def as_text(findings: Sequence[Finding]) -> str:
    """The page for people."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.level.name:<5}  {finding.what}: {finding.text}")
        if finding.fix:
            lines.append(f"         fix: {finding.fix}")
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    lines.append(f"{counts[Level.ERROR]} errors, {counts[Level.WARN]} warnings, {counts[Level.OK]} right")
    return "\n".join(lines)


def as_json(findings: Sequence[Finding]) -> str:
    """The page for programs: {"worst": "WARN", "findings": [{"level", "what", "text", "fix"}]}."""
    told = [asdict(finding) | {"level": finding.level.name} for finding in findings]
    return json.dumps({"worst": worst(findings).name, "findings": told}, indent=2)
