"""Tools for language models (MCP): they propose, the planner disposes. Nothing here moves the robot past the planner's checks."""
