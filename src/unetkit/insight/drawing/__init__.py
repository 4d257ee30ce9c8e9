"""A net drawn as a U, from its graph alone."""
