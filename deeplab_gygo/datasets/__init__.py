"""Datasets as they are on disk: GyGO, DAVIS; layout, verification, download."""
