"""V-JEPA 2-AC planning, against the published reference: `make bench-ac-planning`."""
