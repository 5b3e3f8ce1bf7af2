"""A gallery, opened read-only: its contract, items, pictures, and what belongs to it."""
