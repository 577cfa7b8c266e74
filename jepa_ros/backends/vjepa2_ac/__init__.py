"""V-JEPA 2-AC (Assran et al. 2025): what a camera will see after a robot arm's actions, and the actions that lead to a goal image.

`predictor`: the network. `poses`: how actions move the end effector. `imagination`: rollouts of many candidates. `search`: the
cross-entropy method. `screening`: the same search with few of the candidates predicted. `model`: the back-end.
"""
