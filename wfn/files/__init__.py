"""Files as people have them: pictures, and tensors by name."""
