"""Weight Fixing Networks: give a whole neural network one small set of weights to share."""

__version__ = "0.2.0"
