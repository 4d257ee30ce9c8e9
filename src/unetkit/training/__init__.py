"""From a data set and a budget to a model."""
