"""Any net read once into layers with a window per axis: traced, run with hooks, its cost and memory counted."""
