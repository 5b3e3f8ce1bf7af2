"""The index folder: numbered versions, switched atomically, and the checkpoints they name."""
