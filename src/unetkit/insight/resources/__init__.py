"""What a net costs: time, memory, concatenations."""
