"""Finding things in a space: an index on disk. Imports nothing of training."""
