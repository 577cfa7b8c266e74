"""Chooses the topics to use by the content of their messages, by one rule for bags and live topics."""
