"""A finished project, judged: properties of a folder, each by a function of its own."""
