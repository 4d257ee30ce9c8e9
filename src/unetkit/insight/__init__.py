"""What a net sees in an image, and why."""
