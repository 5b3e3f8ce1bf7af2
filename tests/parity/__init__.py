"""Ours against recorded numbers of the released code, and against slow readings of the equations."""
