"""Occupancy cell by cell: how it is counted, and what tracked objects add to it."""
