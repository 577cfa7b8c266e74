"""A robot arm with a gripper, its camera and its episodes."""
