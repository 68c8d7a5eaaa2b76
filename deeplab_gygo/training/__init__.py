"""Offline training: batches, gradient steps, the training loop, checkpoints, validation."""
