"""The cost of a net: time, memory, concatenations."""
