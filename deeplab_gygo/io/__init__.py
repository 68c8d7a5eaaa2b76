"""Pixels in and out: frames, videos, masks and their encodings, writers."""
