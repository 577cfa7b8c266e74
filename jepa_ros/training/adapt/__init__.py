"""Adapts the world model to recordings of one's own, without labels: `python -m jepa_ros.training adapt`."""
