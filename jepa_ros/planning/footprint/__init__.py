"""The robot's shape on the ground: a disc, or a polygon that turns with it."""

from jepa_ros.planning.footprint.shape import Footprint

__all__ = ["Footprint"]
