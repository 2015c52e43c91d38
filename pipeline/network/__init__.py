"""timm networks: building them, their weights, their layers."""
