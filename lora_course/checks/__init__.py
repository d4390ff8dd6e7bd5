"""The checks of the exercises, one module per chapter.

In a notebook: from lora_course.checks import ch03 as check
"""
