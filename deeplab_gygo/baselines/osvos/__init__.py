"""OSVOS (Caelles et al., CVPR 2017)."""
