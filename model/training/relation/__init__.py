"""The instance level: how the images and captions of a batch are related. Training only."""
