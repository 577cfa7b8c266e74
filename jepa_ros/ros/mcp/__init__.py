"""Tools for language models (MCP). They can only propose: every motion passes the planner's checks."""
