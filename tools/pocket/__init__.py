"""Makes the pocket Stable Diffusion out of public emoji art: `python -m tools.pocket.make`."""
