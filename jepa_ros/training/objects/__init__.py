"""Teaches the verifier of `jepa_ros/objects` on real sweeps into which bodies and things are cast with the sweep's own beams."""
