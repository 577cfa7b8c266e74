"""The action PursueGoal: a goal that is described, driven to under the checks of every plan."""
