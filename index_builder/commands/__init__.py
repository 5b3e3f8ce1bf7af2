"""The commands of `python -m index_builder`, one a module."""
