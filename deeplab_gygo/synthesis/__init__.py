"""Layered scenes and augmentation: training clips with exact masks."""
