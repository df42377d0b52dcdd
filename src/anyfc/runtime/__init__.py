"""How to talk to a language."""
