"""The colours of all pictures and pages, as CSS and matplotlib write them."""

__all__ = ["ACCENT", "COLOURS", "EDGE", "GROUND", "INK", "LEVELS", "LINE", "PAPER", "QUIET", "WARM"]

INK, QUIET, EDGE, LINE, GROUND, PAPER = "#22262b", "#68707a", "#aab1b8", "#e3e6e9", "#f6f7f8", "#ffffff"
ACCENT, WARM = "#1f6f9c", "#c25400"
COLOURS = (ACCENT, WARM, "#3a8c4d", "#8a4fa3", "#b58900", "#d1495b", "#5a6b7b", "#2aa198")
LEVELS = (WARM, "#b58900", "#3a8c4d", "#2aa198", ACCENT, "#5b3a8c", "#a0307a", "#5b2333")  # from the finest level on
