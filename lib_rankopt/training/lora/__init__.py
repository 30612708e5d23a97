"""LoRA files: names, metadata, checks, reading and writing."""
