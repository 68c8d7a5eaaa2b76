"""What OSMN and OSVOS have in common."""
