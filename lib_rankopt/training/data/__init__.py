"""What a trainer learns from: examples from the store or from files, split by prompt."""
