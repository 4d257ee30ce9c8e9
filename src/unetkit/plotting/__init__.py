"""The style of all figures, charts as SVG, and the elements of an HTML page."""
