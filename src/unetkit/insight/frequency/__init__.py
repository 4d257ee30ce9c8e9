"""Frequencies that a net loses, folds and makes up."""
