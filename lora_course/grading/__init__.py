"""Grading: runs other people's notebooks in a box, judges numbers, writes reports."""


def grade_folder(folder, out, **options):
    """Grades every notebook in `folder`, keeps the records in `out`; returns the records.

    options: secret, jobs, trust, timeout, chapter, progress, variants; see run.grade_folder.
    """
    from lora_course.grading.run import grade_folder

    return grade_folder(folder, out, **options)
