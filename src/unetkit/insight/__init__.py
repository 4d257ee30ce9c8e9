"""Tools that show a net at work on an image."""
