"""python -m lora_course.builder: builds the notebooks; see build.py."""

import sys

from lora_course.builder.build import main

sys.exit(main())
