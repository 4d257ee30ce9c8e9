"""From an image of any size to its mask: exact tiles and streams, engines, files, clusters."""
