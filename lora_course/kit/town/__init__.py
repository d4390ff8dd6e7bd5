"""The invented town: its words, its stories, and the tasks that are asked about it."""
