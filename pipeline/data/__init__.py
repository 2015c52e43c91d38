"""Where labelled images come from, which are for what, and their batches."""
