"""The served pair of index and checkpoint: opened, swapped; its owner threads and batches."""
