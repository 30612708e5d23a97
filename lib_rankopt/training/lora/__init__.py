"""What training adds to LoRA files: metadata, checks, writing."""
