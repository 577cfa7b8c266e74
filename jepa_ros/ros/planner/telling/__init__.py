"""What the planner publishes of its plans, besides its answers."""
