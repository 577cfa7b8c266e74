"""Reads the text of recorded QoS profiles."""

from __future__ import annotations

import struct


def says_latched(profiles: str) -> bool:
    """Whether a list of QoS profiles, in YAML, has one of transient-local durability."""
    import yaml

    try:
        return any(str(profile.get("durability")).lower() in ("1", "transient_local") for profile in yaml.safe_load(profiles or "") or [])
    except (yaml.YAMLError, AttributeError, TypeError, struct.error):
        return False
