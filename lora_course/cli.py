"""The command `lora-course`: JupyterLab, exercises and their checks, progress, the machine."""

import argparse
import sys
from pathlib import Path

from lora_course import __version__
from lora_course.grading import commands as grading
from lora_course.grading.exports import command as export
from lora_course.learner import desk
from lora_course.preflight import terminal as saved

START = "copies exercises into your folder, where no update touches them"


def main(argv=None):
    """Runs one subcommand; returns the exit status."""
    parser = argparse.ArgumentParser(prog="lora-course", description=__doc__)
    parser.add_argument("--version", action="version", version=f"lora-course {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    lab = commands.add_parser("lab", help="opens JupyterLab on your copies (its own options last)")
    lab.add_argument("folder", nargs="?", type=Path, help="your folder, made if it is not there")
    update = commands.add_parser("update", help="brings new chapters into your folder")
    update.add_argument("folder", nargs="?", type=Path, help="your folder (default: this one)")
    start = commands.add_parser("start", help=START, description=f"start NN {START}.")
    start.add_argument("chapters", nargs="*", metavar="NN", help="chapter numbers, or all")
    start.add_argument("--fresh", action="store_true", help="a fresh copy beside the one there is")
    start.add_argument("--only", metavar="N.M", help="empties one exercise in your copy")
    start.add_argument("--back", action="store_true", help="with --only: your answer again")
    shown = commands.add_parser("progress", help="shows which exercises are done")
    shown.add_argument("chapter", nargs="?", type=int, metavar="NN", help="one chapter in detail")
    shown.add_argument("--reset", action="store_true", help="begin anew; the old marks are kept")
    shown.add_argument("--restore", action="store_true", help="take the old marks back")
    commands.add_parser("doctor", help="examines Python, the packages, the GPU and the disk")
    grading.add(commands)
    export.add(commands)
    saved.add(commands)
    argv = list(sys.argv[1:] if argv is None else argv)
    others = []
    if argv[:1] == ["lab"]:  # what begins with the first option goes to JupyterLab
        first = next((n for n, word in enumerate(argv) if word[:1] == "-"), len(argv))
        argv, others = argv[:first], argv[first:]
        argv += [word for word in others if word in ("-h", "--help")]
    args = parser.parse_args(argv)
    if "run" in args:
        return args.run(args)
    if args.command == "doctor":
        from lora_course.learner import doctor

        return doctor.main()
    try:
        if args.command == "progress":
            return show_progress(args)
        if args.command == "lab":
            return desk.lab(args.folder, others)
        if args.command == "update":
            return 0 if desk.bring_up_to_date(args.folder) else 1
        if args.back and not args.only:
            return desk.fail("--back needs the exercise: lora-course start 03 --only 3.2 --back")
        if args.only:
            return desk.begin_again(args)
        return desk.start_chapters(args.chapters, args.fresh)
    except OSError as error:
        said = f"{error.filename} cannot be written: {error.strerror}. Nothing was lost."
        return desk.fail(said)


def show_progress(args):
    """Prints the summary, or one chapter; resets and restores."""
    from lora_course.learner import progress, restart

    if args.reset or args.restore:
        print(restart.reset_progress() if args.reset else restart.restore_progress())
        return 0
    table = progress.progress_table()
    known = {row.chapter for row in table.rows}
    if args.chapter is None:
        print(table.summary())
    elif args.chapter in known:
        print(table.chapter(args.chapter))
    else:
        there = f"they are {min(known)} to {max(known)}"
        return desk.fail(f"There is no chapter {args.chapter}: {there}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
