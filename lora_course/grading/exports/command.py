"""The command `lora-course export`: assignments for nbgrader and for Gradescope."""

import sys
from pathlib import Path

from lora_course.grading.exports.sources import NoExport, sources

KINDS = "nbgrader: a source tree that it releases and grades; gradescope: a zip for each chapter"


def add(commands):
    """The subcommand's arguments, for the parser of lora-course."""
    parser = commands.add_parser("export", help="assignments for nbgrader and for Gradescope")
    parser.add_argument(
        "kind",
        choices=("nbgrader", "gradescope"),
        help=KINDS,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="where to; made if missing")
    parser.add_argument("chapters", nargs="*", metavar="NN", help="chapter numbers (default: all)")
    parser.add_argument(
        "--secret", type=Path, metavar="FILE", help="gradescope: hidden inputs from this secret"
    )
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="EXERCISE=NAME",
        help="gradescope: as in grade",
    )
    parser.set_defaults(run=main)


def main(args):
    """Makes one export; returns the exit status."""
    from lora_course.grading import run

    try:
        if args.kind == "nbgrader":
            from lora_course.grading.exports.nbgrader import export
        else:
            from lora_course.grading.exports.gradescope import export
        made = export(args.folder, sources(args.chapters), args.secret, args.variant)
    except (NoExport, run.CannotGrade) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        said = error.strerror or type(error).__name__
        print(f"{error.filename or args.folder} cannot be written: {said}.", file=sys.stderr)
        return 1
    print("\n".join(made))
    return 0
