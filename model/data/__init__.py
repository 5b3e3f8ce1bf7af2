"""Data sets: pictures with their captions."""
