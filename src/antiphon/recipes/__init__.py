"""One readable file for each published method."""
