"""Threads on a checkpointer: start, resume, step, edit, fork; nothing that was paid for is lost."""
