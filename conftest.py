"""Settings of every test run, at the root because nbval also collects chapters/ and solutions/."""

import os
import tempfile
from pathlib import Path

from lora_course.builder.execute import environment

# Before anything else is imported, and inherited by the kernels that nbval starts: the same
# variables as in a build (no network, no progress bars, a learner's progress file left alone).
HOME = tempfile.TemporaryDirectory(prefix="lora_course_", ignore_cleanup_errors=True)
os.environ.update(environment(Path(__file__).resolve().parent, HOME.name))
