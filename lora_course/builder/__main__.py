"""python -m lora_course.builder: builds the notebooks; see build.py."""

import sys

from lora_course.builder.build import main

if __name__ == "__main__":  # importing this module builds nothing
    sys.exit(main())
