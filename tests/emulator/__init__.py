"""SageMaker's control plane in this process, reached by an unmodified boto3 over HTTP.

    with SageMaker() as sagemaker:
        sagemaker.add_app("datascience", image="datascience-1.0")
        sagemaker.fail("DeleteApp", Fault.THROTTLED, times=2)
        run(env=environment(sagemaker))
        assert sagemaker.app("datascience").status == "Deleting"
        assert not sagemaker.violations

By hand: `python -m tests.emulator --classic`.
"""

from .faults import Fault
from .items import ALICE, DOMAIN
from .sagemaker import Call, SageMaker, environment

__all__ = ["ALICE", "DOMAIN", "Call", "Fault", "SageMaker", "environment"]
