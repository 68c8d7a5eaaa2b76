"""Segmenting one sequence into a folder, and many of them in one process."""
