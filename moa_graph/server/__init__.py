"""MoA as a model: an OpenAI-compatible server in which each spec is a model."""
