"""Vehicles in a lidar sweep as oriented boxes: proposed, verified, tracked."""
