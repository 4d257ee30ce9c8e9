"""The page of `unetkit inspect`: what a net sees, what its paths carry, and what it costs."""
