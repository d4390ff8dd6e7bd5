"""What chapters use and need not read: models, data, figures, and the invented town."""
