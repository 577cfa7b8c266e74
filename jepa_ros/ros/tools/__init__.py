"""Around the nodes: bag player, recorder, simulator, demo."""
