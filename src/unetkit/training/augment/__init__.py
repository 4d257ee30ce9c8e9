"""Augmentation of batches of patches."""
