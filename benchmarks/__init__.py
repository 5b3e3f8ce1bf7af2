"""Measurements of the project: what it claims, checked by a command."""
