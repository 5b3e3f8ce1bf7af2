"""Bringing it up: the demo, and what the container starts."""
