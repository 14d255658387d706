"""One file, one source: each gives a Hugging Face `Dataset` of rows."""
