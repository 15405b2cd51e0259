"""The paper's experiments and the questions that follow from them, one a file, from the package's public API alone."""
