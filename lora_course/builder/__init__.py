"""How a notebook is made: source -> exercises -> notebook -> execute. The command is build.py."""
