"""What scene_jepa predicts, against its baselines: `make bench-world-model`."""
