"""The one command of the AWS CLI that our pages use to read logs, played with boto3 and JMESPath as the CLI does it."""

from __future__ import annotations

import argparse
import json
import sys

import boto3
import jmespath


def main() -> None:
    """`aws logs filter-log-events ... --query ... --output text`: every page, a line for each row."""
    parser = argparse.ArgumentParser(prog="aws")
    parser.add_argument("service", choices=["logs"])
    parser.add_argument("operation", choices=["filter-log-events"])
    for option in ("log-group-name", "filter-pattern", "start-time", "query"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--output", choices=["text"], required=True)
    asked = parser.parse_args()
    pages = (
        boto3.client("logs")
        .get_paginator("filter_log_events")
        .paginate(
            logGroupName=asked.log_group_name, filterPattern=asked.filter_pattern, startTime=int(asked.start_time)
        )
    )
    for page in pages:
        for row in jmespath.search(asked.query, json.loads(json.dumps(page, default=str))) or ():
            sys.stdout.write("\t".join(map(str, row)) + "\n")


if __name__ == "__main__":
    main()
