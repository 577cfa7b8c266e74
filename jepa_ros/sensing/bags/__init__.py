"""Recorded bags: what is in them, and their messages, also of files that are damaged or unusual."""
