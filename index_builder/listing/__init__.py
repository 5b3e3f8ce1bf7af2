"""What a source names, in row order, and how it compares with what an index holds."""
