"""Vehicles seen, told apart and tracked, on labelled recordings and in simulated streets."""
