"""Open a page in the browser: previews of your own footage, how long it will take, and a queue of jobs."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Sequence

from vsr_plugin.cli.command import HelpFormatter
from vsr_plugin.errors import VSRError
from vsr_plugin.settings import natural

MESSAGES = dict(state="what the job has done is kept, and the next start goes on with it")


def parse_args(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument(
        "--root",
        action="append",
        metavar="DIR",
        help="folder below which the page reads and writes files, and no others; may be given several times, the "
        "first one keeps uploads and the queue, in .vsr_app (default: the current folder)",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 lets in everybody who reaches this machine"
    )
    parser.add_argument("--port", type=natural, metavar="N", help="to listen on (default: a free one from 7860 on)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N, or auto for a GPU if there is one")
    parser.add_argument("--open", action="store_true", help="open the page in the browser of this machine")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = parse_args(arguments, prog)
    if sys.platform == "win32":
        raise VSRError("the page needs Linux or macOS, whose processes it finds again; on Windows use WSL")
    from vsr_plugin.app.roots import Roots
    from vsr_plugin.app.server import serve

    roots = Roots(args.root or ["."])

    def on_ready(address: str) -> None:
        print(f"the page is at {address} (Ctrl-C ends it); it uses {', '.join(map(str, roots.folders))}", flush=True)
        if args.open:
            webbrowser.open(address)

    serve(roots, host=args.host, port=args.port, device=args.device, on_ready=on_ready)
