"""The same results sooner: many small runs at once."""
