#!/usr/bin/python3
"""cli_case.py: what the tests of the program at a terminal have in common: how it is run, how a refusal must look.

    usage of a test   cli_…_test.py PROGRAM [TEST ...]

A message must name what is wrong and say what to do. Exit codes: 0 ok, 2 usage, 3 configuration. Runs with the system's
Python, standard library only.
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

SEED = pathlib.Path(__file__).resolve().parents[1] / "deploy" / "seed.yaml"
DATA = pathlib.Path(__file__).resolve().parent / "data"
CONNECTION = ("--from", "203.0.113.7", "--to", "10.31.240.99:80")
POINTER = r"--help"  # what to do about a command line that cannot be understood

program = None  # the path of limpet, once main() knows it


def limpet(*words, stdin=None):
    given = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True, timeout=30, **given)


class Case(unittest.TestCase):
    def check_refused(self, exit_code, words, *patterns):
        """Nothing on stdout, this exit code, and every pattern in the message."""
        done = limpet(*words)
        self.assertEqual((done.returncode, done.stdout), (exit_code, ""), done.stderr)
        for pattern in patterns:
            self.assertRegex(done.stderr, pattern)
        return done.stderr

    def make_folder(self):
        folder = tempfile.TemporaryDirectory(prefix="limpet-cli-test-")
        self.addCleanup(folder.cleanup)
        return pathlib.Path(folder.name)


def main():
    global program
    if len(sys.argv) < 2 or not pathlib.Path(sys.argv[1]).is_file():
        sys.exit(f"{' '.join(sys.argv[1:2]) or 'no program'}: not built; usage: {pathlib.Path(sys.argv[0]).name} PROGRAM [TEST ...]")
    program = str(pathlib.Path(sys.argv[1]).resolve())
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[2:]])
