"""Export of a network to formats that run without this package, each with a parity check."""
