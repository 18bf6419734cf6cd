"""Word lists, one folder a language."""
