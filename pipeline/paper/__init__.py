"""The paper's experiments on ImageNet: what they ask for, where they are made, and the page of both of its tables."""
