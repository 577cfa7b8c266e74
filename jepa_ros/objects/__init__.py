"""Objects around the robot: found in a sweep, and tracked."""
