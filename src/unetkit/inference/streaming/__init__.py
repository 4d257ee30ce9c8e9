"""A net through which an image flows slab by slab, nothing computed twice."""
