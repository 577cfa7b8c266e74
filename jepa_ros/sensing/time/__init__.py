"""Checks stamps and brings points to one instant."""
