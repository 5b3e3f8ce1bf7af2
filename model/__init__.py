"""HREM, the dual encoder, and what the index builder and the service need of it."""
