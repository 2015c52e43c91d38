"""The packed file: a network of few values as small as its entropy, and a line that loads it (docs/format.md)."""
