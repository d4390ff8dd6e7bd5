"""The checks of the exercises, one module per chapter (`from lora_course.checks import ch03 as check`)."""
