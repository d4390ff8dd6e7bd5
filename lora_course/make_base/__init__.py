"""The factory of the shipped base model: no chapter imports it."""
