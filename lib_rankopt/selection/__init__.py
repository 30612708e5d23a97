"""Keep or drop the candidates of a running batch at chosen denoising steps."""
