"""A process that holds one implementation and runs it when told to: both of its ends.

Requests and answers are lines of JSON on standard input and output: so the implementations can take turns without
sharing an allocator, threads or a warmed cache of kernels.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from vsr_plugin.errors import VSRError


class Remote:
    """The asking end.

    Attributes:
        name: of the implementation.
    """

    def __init__(self, process: subprocess.Popen, name: str):
        self._process = process
        self.name = name
        self._ready = False

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise VSRError(f"the process that runs {self.name!r} ended with status {self._process.wait()}, see above")
        answer = json.loads(line)
        if "error" in answer:
            raise VSRError(answer["error"])
        return answer

    def wait_until_ready(self) -> None:
        """Wait for the implementation to be built.

        Raises:
            VSRError: it cannot be.
        """
        if not self._ready:
            self._answer()
            self._ready = True

    def ask(self, do: str, **arguments: Any) -> dict:
        """Call a method of the other end and return its answer.

        Raises:
            VSRError: what the method raised, that the implementation cannot be built, or that the process ended.
        """
        self.wait_until_ready()
        print(json.dumps(dict(do=do, **arguments)), file=self._process.stdin, flush=True)
        return self._answer()


@contextmanager
def remote(worker: str, name: str, setting: Any) -> Iterator[Remote]:
    """Start a process, without waiting for it: those of several implementations get ready side by side.

    Args:
        worker: module of this package that calls :func:`serve`.
        name: of the implementation.
        setting: a dataclass, what every implementation is given alike.
    """
    command = [sys.executable, "-m", f"{__package__}.{worker}", name, json.dumps(dataclasses.asdict(setting))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Remote(process, name)
        finally:
            process.stdin.close()
            if sys.exc_info()[0] is not None:
                process.terminate()


def serve(build: Callable[[str, dict], Any]) -> None:
    """Be the answering end until standard input ends.

    Args:
        build: from the name of the implementation and the setting's fields to an object, whose methods are called by
            name and return what JSON can hold.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("setting", help="JSON of the setting")
    args = parser.parse_args()
    # What libraries print must not be taken for answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    with redirect_stdout(sys.stderr):
        try:
            worker = build(args.name, json.loads(args.setting))
        except VSRError as error:
            print(json.dumps(dict(error=str(error))), file=answers)
            return
        print(json.dumps({}), file=answers)
        for line in sys.stdin:
            request = json.loads(line)
            try:
                answer = getattr(worker, request.pop("do"))(**request)
            except VSRError as error:
                answer = dict(error=str(error))
            print(json.dumps(answer), file=answers)
