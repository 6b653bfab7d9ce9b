"""Check the installation: versions, devices, caches and a self-test on each device; say how to mend what is wrong."""

import argparse
import json
import logging
import sys
from dataclasses import asdict

EPILOG = """\
examples:
  catseg doctor
  catseg doctor --json > report.json

exit status: 0 nothing is wrong, warnings aside, 1 something is
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the findings; return the exit status."""
    from catseg.cli.checkup import OK, PROBLEM, check_all

    logging.getLogger("catseg").setLevel(logging.ERROR)  # the self-test's network is random on purpose
    findings = []
    for finding in check_all():
        findings.append(finding)
        if not args.json:
            mark = "" if finding.state == OK else f"{finding.state.upper()}: "
            sys.stdout.write(f"{finding.topic}: {mark}{finding.found}\n")
            sys.stdout.write(f"  to mend it: {finding.mend}\n" if finding.mend else "")
            sys.stdout.flush()
    wrong = [finding for finding in findings if finding.state == PROBLEM]
    if args.json:
        report = {"ok": not wrong, "findings": [asdict(finding) for finding in findings]}
        sys.stdout.write(json.dumps(report, indent=2, allow_nan=False) + "\n")
    else:
        sys.stdout.write(f"{len(wrong)} problems\n" if wrong else "all is well\n")
    return 1 if wrong else 0
