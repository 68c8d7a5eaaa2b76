"""Training clips: sources, synthetic scenes with exact masks, augmentation."""
