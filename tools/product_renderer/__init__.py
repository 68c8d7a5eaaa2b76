"""A small software renderer of product clips: models, textures, lights, camera, rasterizer."""
