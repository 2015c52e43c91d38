"""Accuracy, codebooks and bytes of a network."""
