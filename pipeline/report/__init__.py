"""Tables, figures and the page, from saved results only; nothing here imports torch."""
