"""Runs fairseq's commands as real processes, forked from one that has imported fairseq already.

Importing torch and fairseq takes seconds, a tiny training less than one. A child is forked before anything of
fairseq was used: its state is that of a fresh command. A request is a JSON line on standard input: a list of
commands to run at the same time. The answer is a line of their process ids, then a line for each as it ends.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import runpy
import sys
import traceback
from typing import Any, NoReturn

import fairseq_cli.generate  # noqa: F401
import fairseq_cli.hydra_train  # noqa: F401
import moments
import soundfile  # noqa: F401
import torch._dynamo  # noqa: F401 (every optimizer's first construction imports it: two seconds)

END = "end\n"
"""The request to end. The end of standard input may never come: another child of the tests can hold its pipe open."""


def serve() -> None:
    while (line := sys.stdin.readline()) not in ("", END):
        children = []
        for request in json.loads(line):
            child = os.fork()
            if child == 0:
                become(request)
            children.append(child)
        print(json.dumps(children), flush=True)
        for _ in children:
            child, status = os.wait()
            print(json.dumps([child, os.waitstatus_to_exitcode(status)]), flush=True)


def become(request: dict[str, Any]) -> NoReturn:
    """Run one command to its end, with its output in files, leaving as the interpreter would."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for stream, path in ((1, request["out"]), (2, request["err"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    if request["file_size"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_size"], resource.RLIM_INFINITY))
    os.chdir(request["cwd"])
    os.environ.update(request.get("env", {}))
    if "MOMENT" in os.environ:
        moments.install(os.environ["MOMENT"])
    sys.argv = [request["module"], *request["arguments"]]
    code = 0
    try:
        sys.modules.pop(request["module"], None)
        runpy.run_module(request["module"], run_name="__main__")
    except SystemExit as stop:
        code = _status(stop)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()  # ends the workers that load data
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _status(stop: SystemExit) -> int:
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    print(stop.code, file=sys.stderr)
    return 1


if __name__ == "__main__":
    serve()
    os._exit(0)  # nothing is left to write, and the libraries' own clean-up can wait for others
