"""Nets: the members of the U-Net family, by composition."""
