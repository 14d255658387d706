"""Moves parameters: learner, loop, schedule, checkpoints."""
