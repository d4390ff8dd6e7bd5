"""Running a stranger's code: the process that forks, the walls, and what passes through them."""
