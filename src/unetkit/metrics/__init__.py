"""Scores of masks against the truth: pixels, boundaries, objects; arrays and folders of files."""
