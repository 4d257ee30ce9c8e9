"""A model in other forms: int8."""
