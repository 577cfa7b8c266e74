"""A gripper that learned from images alone: `make bench-grip`."""
