"""The factory of the shipped vision model: no chapter imports it."""
