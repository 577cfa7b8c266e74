"""`ros2 run jepa_ros doctor`: what is right and wrong on this robot, each line with its fix."""
