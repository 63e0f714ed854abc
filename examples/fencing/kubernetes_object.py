"""A Kubernetes object that refuses a late writer: the API server compares, by the policy in manifests/fence.

    kubectl apply -k manifests/fence
    kubectl create configmap counter --from-literal=value=0
    python kubernetes_object.py counter

The token goes along as the annotation ``tasklock.dev/fence`` *in the same PATCH* as the change. A merge-PATCH never
creates, so an object that somebody deleted is not brought back by a late writer either.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from counter import LateWriteError, arguments, increment
from kubernetes import config
from kubernetes.client import ApiClient
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import DynamicApiError

FENCE = "tasklock.dev/fence"
MERGE_PATCH = "application/merge-patch+json"
FORBIDDEN, CONFLICT = 403, 409


class ConfigMapCounter:
    """The key ``value`` of a ConfigMap. Any other kind of object is fenced in the same way."""

    def __init__(self, client: DynamicClient, namespace: str, name: str) -> None:
        self._api = client.resources.get(api_version="v1", kind="ConfigMap")
        self._where = {"name": name, "namespace": namespace}

    def begin(self, token: int) -> int:
        """Raise the object's token to ours; the answer is the object as it is then."""
        return self._value(self._patch({}, token))

    def write(self, value: int, token: int) -> None:
        """Write, unless the object carries a larger token."""
        self._patch({"data": {"value": str(value)}}, token)

    def delete(self, token: int) -> None:
        """Delete the object, unless it carries a larger token: exactly the version that our token was written to."""
        version = self._patch({}, token).metadata.resourceVersion
        try:
            self._api.delete(**self._where, body={"preconditions": {"resourceVersion": version}})
        except DynamicApiError as error:
            raise _late(error) from None

    def read_unfenced(self) -> int:
        """Read the object."""
        return self._value(self._api.get(**self._where))

    def write_unfenced(self, value: int) -> None:
        """Write as if there was no fence: without the annotation, which leaves the one that is there."""
        self._patch({"data": {"value": str(value)}}, None)

    def _patch(self, change: dict[str, Any], token: int | None) -> Any:  # noqa: ANN401 - an object of any kind
        if token is not None:
            change["metadata"] = {"annotations": {FENCE: str(token)}}
        try:
            return self._api.patch(**self._where, body=change, content_type=MERGE_PATCH)
        except DynamicApiError as error:
            raise _late(error) from None

    @staticmethod
    def _value(found: Any) -> int:  # noqa: ANN401 - as above
        return int((found.to_dict().get("data") or {}).get("value", "0"))


def _late(error: DynamicApiError) -> Exception:
    """Return what a refusal means: the policy's 403, or a 409 to a deletion where another write came between."""
    said = json.loads(error.body)["message"]
    late = error.status == CONFLICT or (error.status == FORBIDDEN and "ValidatingAdmissionPolicy" in said)
    return LateWriteError(said) if late else error


if __name__ == "__main__":
    parser = arguments("Increment a counter in a ConfigMap.")
    parser.add_argument("configmap")
    options = parser.parse_args()
    config.load_config()
    _, context = config.list_kube_config_contexts()
    place = context["context"].get("namespace", "default")
    sys.exit(increment(ConfigMapCounter(DynamicClient(ApiClient()), place, options.configmap), options))
