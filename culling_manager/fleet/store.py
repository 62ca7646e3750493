"""What the Lambda functions keep in S3 and tell by SNS. Clients are made once per function and stay."""

from __future__ import annotations

import functools
import json
import os
from typing import Any

from ..errors import CallError
from .calls import action, in_words
from .report import FleetReport

#: SNS takes 262,144 bytes per message; what is longer is cut and linked to the whole report in S3.
LONGEST_MESSAGE = 250_000
#: SNS takes subjects of up to 100 characters.
LONGEST_SUBJECT = 100


def publish(report: FleetReport, link: str) -> None:
    """Publish the report to the SNS topic as one message; a long one is cut and says where the whole of it is."""
    lines = report.lines()
    told, size = [], len(link) + 200
    for line in lines:
        size += len(line.encode()) + 1
        if size > LONGEST_MESSAGE:
            break
        told.append(line)
    rest = [f"... and {len(lines) - len(told)} more lines."] if len(told) < len(lines) else []
    text = "\n".join([*told, *rest, f"The whole report: {link}"])
    number = len(report.needing_care)
    subject = f"culling_manager: {number} of {len(report.findings)} need care" if number else "culling_manager: check"
    if report.billed:
        subject = f"{subject.replace(': ', f': {len(report.billed)} billed for want of a permission; ', 1)}"
    topic = os.environ["TOPIC_ARN"]
    _aws("sns", "publish", topic, TopicArn=topic, Subject=subject[:LONGEST_SUBJECT], Message=text)


class Store:
    """JSON in the template's bucket."""

    def __init__(self) -> None:
        self.bucket = os.environ["BUCKET"]

    def put(self, key: str, found: Any) -> None:
        """Write one object."""
        body = json.dumps(found).encode()
        _aws("s3", "put_object", self._arn(key), Bucket=self.bucket, Key=key, Body=body, ContentType="application/json")

    def get(self, key: str) -> Any:
        """Read one object. Raises CallError."""
        return json.loads(_aws("s3", "get_object", self._arn(key), Bucket=self.bucket, Key=key)["Body"].read())

    def keys(self, prefix: str) -> set[str]:
        """The keys of all objects under a prefix."""
        found: set[str] = set()
        more: dict[str, str] = {}
        while True:
            page = _aws("s3", "list_objects_v2", self._arn(""), Bucket=self.bucket, Prefix=prefix, **more)
            found |= {each["Key"] for each in page.get("Contents", [])}
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _arn(self, key: str) -> str:
        return f"arn:aws:s3:::{self.bucket}/{key}"


@functools.cache
def _client(service: str) -> Any:
    """A client, which a warm Lambda function has from its last call."""
    import boto3

    return boto3.client(service)


def _aws(service: str, operation: str, resource: str, **parameters: Any) -> Any:
    """Call one operation with botocore's retries; a refusal names action and resource."""
    try:
        return getattr(_client(service), operation)(**parameters)
    except Exception as error:
        told: CallError = in_words(error, action(service, operation), resource)
    raise told
