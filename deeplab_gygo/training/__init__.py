"""Losses and the offline training of a parent."""
