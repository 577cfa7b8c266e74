"""Stamps that can be trusted."""
