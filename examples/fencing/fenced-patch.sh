#!/bin/sh
# A script whose writes the API server fences (manifests/fence): the token goes along in the very patch that changes the
# object. Run it under the lock:
#
#   tasklock run release --ttl 60 --wait -- ./fenced-patch.sh web 1.2.3
set -eu
configmap="${1:?usage: fenced-patch.sh CONFIGMAP VERSION}" version="${2:?usage: fenced-patch.sh CONFIGMAP VERSION}"
fence="\"metadata\":{\"annotations\":{\"tasklock.dev/fence\":\"${TASKLOCK_TOKEN:?run this by tasklock run}\"}}"
kubectl patch configmap "$configmap" --type=merge --patch "{$fence}" # first: from here on no earlier holder can write
# ... the work ...
kubectl patch configmap "$configmap" --type=merge --patch "{$fence,\"data\":{\"version\":\"$version\"}}"
