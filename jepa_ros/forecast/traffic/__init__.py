"""Forecasts of vehicles and cyclists, learned from simulated traffic."""
