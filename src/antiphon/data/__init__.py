"""Where rows come from, and what is done to a row."""
