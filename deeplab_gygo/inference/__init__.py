"""Online fine-tuning and mask propagation."""
