"""What a model is on disk: weights and the card that describes them."""
