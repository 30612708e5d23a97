"""LoRA: the prompt's tags, files and their names, and what they change in a loaded model."""
