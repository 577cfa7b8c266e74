"""Trains what reads occupancy from the world model, recent hits and the forecasts of objects."""
