"""Frequencies that a net loses, aliases and adds."""
