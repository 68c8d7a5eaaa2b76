"""Clips into result folders: one, or a batch."""
