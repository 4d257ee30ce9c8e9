"""What computes a net: torch, or a runtime that is built for inference."""
