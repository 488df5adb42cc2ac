"""Published studies whose printed figures a report may show beside its own."""
