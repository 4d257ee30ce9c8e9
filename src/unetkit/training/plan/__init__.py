"""Every value of a training, with the rule that it follows from."""
