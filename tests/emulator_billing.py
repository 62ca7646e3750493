"""AWS Price List and Cost Explorer in this process, reached by an unmodified boto3; requests and answers by its models.

with Billing() as billing:
billing.product("USE1-Studio:JupyterLab-ml.t3.medium", "Studio-JupyterLab", "0.05")
run(env=billing.environment())
assert not billing.violations
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import botocore.session
from botocore.model import Shape

from tests.emulator.faults import ServiceError, Unlawful
from tests.emulator.sagemaker import _refuse
from tests.emulator.shapes import Check, Law
from tests.emulator.wire import AUTHORIZATION, CONTENT_TYPE, Reply, Request, Server, answer_reply, error_reply

OPERATIONS = {"AWSPriceListService.GetProducts": "pricing", "AWSInsightsIndexService.GetCostAndUsage": "ce"}
NAMES = {"regionCode": "regionCode", "platoinstancetype": "platoinstancetype"}


class BillingLaw(Law):
    """The law of both services; Cost Explorer's has maps, and a filter that contains itself."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._sides: dict[tuple[str, str], Check] = {}
        for target, service in OPERATIONS.items():
            name = target.partition(".")[2]
            operation = botocore.session.get_session().get_service_model(service).operation_model(name)
            self._sides[name, "request"] = self._compiled(operation.input_shape)
            self._sides[name, "answer"] = self._compiled(operation.output_shape)

    def _compiled(self, shape: Shape | None) -> Check:
        if shape is not None and shape.name == "Expression":
            return lambda value, path: self._expression(value, path)
        if shape is not None and shape.type_name == "map":
            member = self._compiled(shape.value)
            return lambda value, path: (
                wrong for name, each in value.items() for wrong in member(each, f"{path}.{name}")
            )
        return super()._compiled(shape)

    def _expression(self, value: Any, path: str) -> Iterator[str]:
        """And over Dimensions, each with a key and values."""
        for part in value.get("And", [value]):
            found = part.get("Dimensions", {})
            if set(part) != {"Dimensions"} or set(found) != {"Key", "Values"}:
                yield f"{path}: {part} is no dimension"


class Billing:
    """Both services at `url`; `region` is where they have to be asked."""

    def __init__(self, region: str = "us-east-1") -> None:
        self.region = region
        self.calls: Counter[str] = Counter()
        self.violations: list[str] = []
        self.page_size = 2
        self.denied = False
        self.usage: list[tuple[str, float]] = []
        self._products: list[dict[str, Any]] = []
        self._law = BillingLaw()
        self._server: Server | None = None

    def __enter__(self) -> Billing:
        self._server = Server(0, self.answer)
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()

    def environment(self) -> dict[str, str]:
        """The variables with which boto3 finds both."""
        assert self._server is not None
        url = f"http://127.0.0.1:{self._server.port}"
        return {"AWS_ENDPOINT_URL_PRICING": url, "AWS_ENDPOINT_URL_COST_EXPLORER": url}

    def product(
        self, usage: str, platform: str, price: str, region: str = "eu-west-1", currency: str = "USD", unit: str = "Hrs"
    ) -> None:
        """One more product with one price."""
        attributes = {
            "usagetype": usage,
            "platoinstancetype": platform,
            "regionCode": region,
            "instanceType": "nonsense",
        }
        dimension = {"unit": unit, "pricePerUnit": {currency: price}, "description": "made up"}
        number = str(len(self._products))
        terms = {"OnDemand": {number: {"priceDimensions": {number: dimension}}}}
        product = {"productFamily": "ML Instance", "attributes": attributes, "sku": number}
        self._products.append({"product": product, "serviceCode": "AmazonSageMaker", "terms": terms})

    def answer(self, request: Request) -> Reply | None:
        """The reply to a request."""
        target = request.headers.get("X-Amz-Target", "")
        operation = target.partition(".")[2]
        self.calls[operation] += 1
        try:
            return answer_reply(self._serve(request, target, operation))
        except ServiceError as error:
            if isinstance(error, Unlawful):
                self.violations.append(f"{operation}: {error.message}")
            return error_reply(error)

    def _serve(self, request: Request, target: str, operation: str) -> dict[str, Any]:
        asked = request.parameters()
        parts = AUTHORIZATION.fullmatch(request.headers.get("Authorization") or "")
        if target not in OPERATIONS or request.headers.get("Content-Type") != CONTENT_TYPE:
            raise Unlawful(f"{target} is no operation of the emulator", "UnknownOperationException")
        if parts is None or (parts["service"], parts["region"]) != (OPERATIONS[target], self.region):
            raise Unlawful(f"Authorization: not signed for {OPERATIONS[target]} in {self.region}")
        if self.denied:
            raise ServiceError("AccessDeniedException", "User is not authorized to perform it.", 400)
        _refuse(self._law.request(operation, asked), "request")
        answer = self._priced(asked) if operation == "GetProducts" else self._used(asked)
        _refuse(self._law.answer(operation, answer), "answer", "InternalFailure", 500)
        return answer

    def _priced(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = [each for each in self._products if all(self._fits(each["product"], one) for one in asked["Filters"])]
        start = int(asked.get("NextToken", 0))
        page = found[start : start + min(self.page_size, asked.get("MaxResults", 100))]
        more = {"NextToken": str(start + len(page))} if start + len(page) < len(found) else {}
        return {"FormatVersion": "aws_v1", "PriceList": [json.dumps(each) for each in page], **more}

    def _fits(self, product: dict[str, Any], wanted: dict[str, str]) -> bool:
        if wanted["Field"] == "productFamily":
            return product["productFamily"] == wanted["Value"]
        if wanted["Field"] not in NAMES:
            raise Unlawful(f"{wanted['Field']} is no attribute that the emulator has")
        return product["attributes"][wanted["Field"]] == wanted["Value"]

    def _used(self, asked: dict[str, Any]) -> dict[str, Any]:
        day = {"TimePeriod": asked["TimePeriod"], "Total": {}, "Estimated": False}
        start = int(asked.get("NextPageToken", 0))
        groups = [
            {"Keys": [usage], "Metrics": {"UsageQuantity": {"Amount": str(hours), "Unit": "Hrs"}}}
            for usage, hours in self.usage[start : start + self.page_size]
        ]
        more = start + len(groups) < len(self.usage)
        return {
            "ResultsByTime": [day | {"Groups": groups}],
            **({"NextPageToken": str(start + len(groups))} if more else {}),
        }
