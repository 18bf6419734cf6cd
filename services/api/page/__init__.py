"""The page: templates, style, and what they are filled with."""
