"""A bag through the same pipeline, planner and message building as the nodes, in one thread, without DDS: the same answer twice."""
