"""Messages of many sensors to one Observation."""
