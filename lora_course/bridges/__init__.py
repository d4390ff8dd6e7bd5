"""From this course to the libraries and back: PEFT, TRL, and folders that others can use."""
