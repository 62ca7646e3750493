"""The emulator by hand: an example account on a port, and a line for every call until Ctrl-C."""

from __future__ import annotations

import argparse
import shlex
import sys
import threading

from . import SageMaker, environment

KERNEL_APP = "datascience-1-0-ml-t3-medium-1abf3407f667f989be9d86559395"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=4599, help="port on 127.0.0.1 (0: any)")
    parser.add_argument("--region", default="eu-west-1")
    parser.add_argument("--takes", type=float, default=20, help="seconds until Deleting is Deleted")
    parser.add_argument("--space", action="store_true", help="a space with a JupyterLab app")
    parser.add_argument("--classic", action="store_true", help="a user profile with a server and a kernel app")
    parser.add_argument("--notebook", action="store_true", help="a notebook instance")
    return parser.parse_args()


def say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def fill(sagemaker: SageMaker, options: argparse.Namespace) -> None:
    """The examples that were asked for."""
    sagemaker.deleting_takes = sagemaker.stopping_takes = options.takes
    if options.space:
        sagemaker.add_app("default", "JupyterLab", space="lab", image="sagemaker-distribution-cpu")
    if options.classic:
        sagemaker.add_app("default", "JupyterServer", image="jupyter-server-3")
        sagemaker.add_app(KERNEL_APP, image="datascience-1.0")
    if options.notebook:
        sagemaker.add_notebook_instance("notebook")


def main() -> None:
    options = arguments()
    with SageMaker(region=options.region, port=options.port, log=say) as sagemaker:
        fill(sagemaker, options)
        for name, value in environment(sagemaker).items():
            say(f"export {name}={shlex.quote(value)}\n")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            say("stopped\n")


if __name__ == "__main__":
    main()
