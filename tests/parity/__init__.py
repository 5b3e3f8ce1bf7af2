"""Ours against recorded numbers of the released code, and slow readings of the equations."""
