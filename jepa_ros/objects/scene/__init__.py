"""Everybody and every vehicle of a scene in one list, and on the grid of the occupancy."""
