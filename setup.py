"""What a wheel carries besides the package: chapters, exercises and solutions, as they are built.

All else stands in pyproject.toml. `lora-course lab FOLDER` copies them from lora_course/course.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
KEPT = (
    "chapters/*.ipynb", "chapters/results/**/*.json", "exercises/*.ipynb", "solutions/*.ipynb",
    "docs/architectures.md", "docs/claims.md",
)  # fmt: skip


class WithCourse(build_py):
    def run(self):
        super().run()
        if self.editable_mode:  # a clone: the originals are beside the package
            return
        for pattern in KEPT:
            for file in ROOT.glob(pattern):
                target = Path(self.build_lib) / "lora_course/course" / file.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)


setup(cmdclass={"build_py": WithCourse})
