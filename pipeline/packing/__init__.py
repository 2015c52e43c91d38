"""Packed files of finished networks, to take home."""
