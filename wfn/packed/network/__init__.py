"""The network that a packed file may hold: what a file may say of it, and how it is built again."""
