"""What the planner publishes besides its answers."""
