"""Tables and outlines of the objects of masks."""
