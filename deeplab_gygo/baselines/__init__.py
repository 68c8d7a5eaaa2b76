"""The other methods of the GyGO benchmark: OSMN, OSVOS, and classical ones without weights."""
