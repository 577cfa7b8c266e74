"""Trains the world model of an arm: from its bags, or from episodes of the simulator."""
