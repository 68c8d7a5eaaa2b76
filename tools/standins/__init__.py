"""Clips that stand in for a product dataset where online options are chosen; never trained on."""
