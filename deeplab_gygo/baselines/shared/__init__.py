"""Trunks, fine-tuning and training that OSMN and OSVOS share."""
