"""The method: the choice of values, the pull towards them, and the rounds around a training loop."""
