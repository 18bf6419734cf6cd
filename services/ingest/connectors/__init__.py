"""Sources that are read from, one file each."""
