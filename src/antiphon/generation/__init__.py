"""Makes text from causal language models, and captions from vectors of a shared space."""
