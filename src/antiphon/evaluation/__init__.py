"""Numbers for tables: embeddings and callables in, measures out; never a learner."""
