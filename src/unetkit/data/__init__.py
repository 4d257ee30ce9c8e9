"""From files to a data set: pairs, channels, checks, splits."""
