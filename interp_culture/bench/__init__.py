"""Speed and memory against the same work in plain Hugging Face, TransformerLens, Dialz and steering-vectors."""
