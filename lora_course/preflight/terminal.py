"""The command `lora-course preflight`: examines a saved adapter or model."""

import sys

SAVED = "examines a saved adapter or merged model: will others get what was trained"


def add(commands):
    """Adds it to the parser's subcommands; its function is in `run`."""
    parser = commands.add_parser("preflight", help=SAVED, description=f"{SAVED}?")
    parser.add_argument("folder", metavar="FOLDER", help="where save_pretrained() wrote")
    parser.add_argument("--base", help="folder or hub id of the base, instead of the one named")
    parser.add_argument("--all", action="store_true", help="also what is well or not examined")
    parser.set_defaults(run=examine_folder)


def examine_folder(args):
    """Prints the report. 0 without a problem, 1 with one, 2 where there is nothing to examine."""
    from lora_course import preflight

    try:
        report = preflight(args.folder, base=args.base, show=False)
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
    print(report.table() if args.all else report)
    return 1 if report.problems else 0
