"""Training: the instance level, the losses, the loop; nothing at inference imports it."""
