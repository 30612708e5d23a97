"""From feedback to a LoRA: data, objectives, the loop, LoRA files. Runs in a process of its own, with or without a webui."""
