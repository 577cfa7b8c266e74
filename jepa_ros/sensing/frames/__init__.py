"""Where sensors are mounted and how the robot moves."""
