"""One training loop, on one device or many, that goes on after a break."""
