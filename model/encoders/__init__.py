"""The fragment level: regions or words of one item, projected, related, pooled."""
