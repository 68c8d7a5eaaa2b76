"""OSMN (Yang et al., CVPR 2018)."""
