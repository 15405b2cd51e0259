"""New scenarios from a teacher model, asked through an OpenAI-compatible endpoint."""
