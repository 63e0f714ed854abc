"""A real Kubernetes for the tests: a control plane on loopback, which needs no root, or a whole node, which does.

``build`` compiles Kubernetes, etcd and helm from Go modules once and keeps them outside the tree; ``control_plane``
starts and stops the API server and what it needs; ``node`` adds containerd, the kubelet and real pods, in namespaces
of their own (``sandbox``), whose image ``image`` makes of the tree as it is (``oci``). ``rest`` speaks plain HTTP to
an API server, so that what a test proves is said by the server and not by a client library.
``uv run python tests/cluster up [--node]`` starts one for a person.
"""
