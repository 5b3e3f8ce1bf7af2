"""Data sets: images with their captions."""
