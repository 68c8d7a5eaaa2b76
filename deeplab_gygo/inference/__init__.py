"""Adapting a parent to the first frame of a sequence, and carrying the mask through it."""
