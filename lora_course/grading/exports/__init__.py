"""The course in the forms of other graders; command.py is where `lora-course export` begins."""
