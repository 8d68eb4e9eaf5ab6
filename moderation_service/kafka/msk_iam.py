"""Token provider for Amazon MSK with IAM: `kafka.oauth_token_provider=moderation_service.kafka.msk_iam:token`.

The extra `msk` brings Amazon's signer. It finds the credentials where every AWS client does: the role of the pod's
service account, the instance, or variables.
"""

import os
from threading import Condition

from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
from cachetools import TTLCache, cached

_KEPT_S = 300  # a third of a token's life


@cached(TTLCache(1, _KEPT_S), condition=Condition())
def token() -> str:
    """A token for the region in AWS_REGION, shared by the connections of the next five minutes."""
    region = os.environ.get("AWS_REGION")
    if not region:
        msg = "AWS_REGION is not set; it should name the cluster's region, such as eu-west-1"
        raise LookupError(msg)
    return str(MSKAuthTokenProvider.generate_auth_token(region)[0])
