"""From what a world model predicts to the occupancy that is published: what was seen lately and what moves are read beside it."""
