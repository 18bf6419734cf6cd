"""What ours is measured beside. Each is a program of its own, run by the interpreter of .venv-bench."""
