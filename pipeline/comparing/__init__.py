"""What a method of the comparison is given and gives back, and what several methods share."""
