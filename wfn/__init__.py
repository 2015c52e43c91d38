"""Weight Fixing Networks: give a whole neural network one small set of weights to share."""
