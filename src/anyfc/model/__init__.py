"""The nouns: frozen structs and the rules that need nothing else."""
