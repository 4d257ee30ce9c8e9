"""Colours and style of all figures, the charts of a report, and the elements of an HTML page."""
