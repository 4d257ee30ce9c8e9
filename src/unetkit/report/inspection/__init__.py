"""The page of `unetkit inspect`: receptive fields, paths, frequencies, gradients, cost and shifts of a net."""
