"""Talking to a language model over HTTP, and a small offline model to talk to."""
