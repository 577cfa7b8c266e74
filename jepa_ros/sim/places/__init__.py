"""Layouts from a seed: streets, crossings, squares, halls, corridors, doorways."""
