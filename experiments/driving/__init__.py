"""Closed-loop driving through crowds, five methods: `make bench-planning`."""
