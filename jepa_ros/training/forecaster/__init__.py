"""Trains the pedestrian forecaster and its scene adapter."""
