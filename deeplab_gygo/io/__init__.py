"""Sequences, masks, videos and data sets: everything that is read before the network sees it."""
