"""Vehicles detected, classified and tracked, on labelled recordings and in simulated streets."""
