"""Pedestrian forecasts on ETH/UCY and in simulated places: `make bench-pedestrians`; people found in a bag: `make bench-people`."""
