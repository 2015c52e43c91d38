"""Tensors by name in the files that people have. Nothing of the packed file, on which no training depends."""
