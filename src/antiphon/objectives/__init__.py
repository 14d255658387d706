"""Loss functions: tensors in, one scalar out; no model, no config, no rank."""
