"""What everything may stand on and nobody needs to read."""
