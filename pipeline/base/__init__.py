"""What everything else stands on: settings, the files of a run, what is counted of weights. No torch."""
