"""Outlines of objects as labels: files of polygons, drawn on the pixels of their image."""
