"""Processes that work for another one do not hear Ctrl-C, which is for that one alone, and end with it."""

import subprocess
import sys
import time

SCRIPT = """
import multiprocessing, signal, sys, time
from vsr_plugin.child_processes import deaf_to_interruptions, serve_parent

def say_mask():
    print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), flush=True)

def serve():
    serve_parent()
    print("serving", flush=True)
    time.sleep(60)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    for target in (say_mask, say_mask):
        process = context.Process(target=target)
        with deaf_to_interruptions():
            process.start()
        process.join()
    say_mask()
    context.Process(target=serve).start()
    time.sleep(60)
"""


def test_they_are_deaf_from_the_first_one_on_and_end_with_their_parent(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline().strip() for _ in range(4)]
        begun = time.monotonic()
        process.kill()
        process.stdout.read()  # until nobody holds it any more
    assert lines == ["[<Signals.SIGINT: 2>]", "[<Signals.SIGINT: 2>]", "[]", "serving"]
    assert time.monotonic() - begun < 30
