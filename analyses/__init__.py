"""The paper's experiments and the questions that follow from them, one per file."""
