"""Grading: runs other people's notebooks in a box, judges numbers, writes reports."""
