"""The `planner` node: forecasts in, plans and commands out."""
