"""Plans through the predicted scene, within a deadline."""

from jepa_ros.planning.kinematics import Limits
from jepa_ros.planning.objective import CostWeights
from jepa_ros.planning.planner import Planner, PlannerConfig
from jepa_ros.planning.solver import CEM, MPPI, SolverConfig

__all__ = ["CEM", "MPPI", "CostWeights", "Limits", "Planner", "PlannerConfig", "SolverConfig"]
