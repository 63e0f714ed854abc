"""The configuration files of a node's programs: what differs from the defaults, and why where it is not plain."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, Final

from cluster.sandbox import plugin_folder

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.sandbox import Network

NODE_NAME: Final = "node-1"
PAUSE_IMAGE: Final = "localhost/pause:1"
KUBELET_PORT: Final = 10250
PROXY_HEALTH_PORT: Final = 10256
MOST_FILES: Final = 20_000  # a limit that is lower still is not ours to raise


def containerd(folder: Path) -> str:
    """TOML for containerd 1.6 and 1.7: state and sockets of its own, nothing that the machine's one has."""
    cri = "plugins.'io.containerd.grpc.v1.cri'"
    unused = ("nri.v1.nri", *(f"snapshotter.v1.{name}" for name in ("aufs", "btrfs", "devmapper", "zfs")))
    return f"""\
version = 2
root = '{folder}/written/containerd/root'  # in memory: it is gone at once, and no disk is waited for
state = '{folder}/written/containerd/state'
oom_score = 0
disabled_plugins = {[f"io.containerd.{name}" for name in unused]}
[grpc]
address = '{folder}/containerd.sock'
[ttrpc]
address = '{folder}/containerd.ttrpc'
[{cri}]
sandbox_image = '{PAUSE_IMAGE}'
restrict_oom_score_adj = true  # decisive where CAP_SYS_RESOURCE is missing
disable_apparmor = true
netns_mounts_under_state_dir = true
[{cri}.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
[{cri}.containerd.runtimes.runc.options]
BinaryName = '{shutil.which("runc")}'
SystemdCgroup = false
[{cri}.cni]
bin_dir = '{plugin_folder()}'
conf_dir = '{folder}/cni'
[plugins.'io.containerd.internal.v1.opt']
path = '{folder}/written/containerd/opt'
"""


def pod_network(folder: Path, network: Network) -> str:
    """JSON for containerd: pods hang on the bridge, and their addresses are routed, not translated."""
    ranges = [[{"subnet": network.pods, "gateway": network.bridge}]]
    bridge = {
        "type": "bridge",
        "bridge": "pods",
        "isGateway": True,
        "hairpinMode": True,  # a pod may reach itself by its Service
        "ipam": {
            "type": "host-local",
            "dataDir": f"{folder}/ipam",
            "ranges": ranges,
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": plugins})


def kubelet(folder: Path, network: Network, *, restart_seconds: int) -> str:
    """Return the kubelet's; ``restart_seconds`` is the longest that it waits before it starts a container again."""
    never = {
        f"{signal}": "0%"
        for signal in (
            "memory.available",
            "nodefs.available",
            "nodefs.inodesFree",
            "imagefs.available",
            "imagefs.inodesFree",
        )
    }
    return _configuration(
        "kubelet.config.k8s.io/v1beta1",
        "KubeletConfiguration",
        address=network.node,
        port=KUBELET_PORT,
        healthzPort=0,
        authentication={
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": f"{folder}/ca.crt"},
        },
        authorization={"mode": "AlwaysAllow"},  # whoever has a certificate of ours, and that is the API server
        containerRuntimeEndpoint=f"unix://{folder}/containerd.sock",
        cgroupDriver="cgroupfs",
        cgroupRoot=f"/{folder.name}",
        crashLoopBackOff={"maxContainerRestartPeriod": f"{restart_seconds}s"},
        evictionHard=never,
        failCgroupV1=False,
        failSwapOn=False,
        imageGCHighThresholdPercent=100,
        imageGCLowThresholdPercent=99,
        kubeAPIBurst=200,
        kubeAPIQPS=100,
        maxOpenFiles=MOST_FILES,
        nodeStatusUpdateFrequency="5s",
        oomScoreAdj=0,
        podLogsDir=f"{folder}/pods",
        resolvConf=f"{folder}/resolv.conf",
        syncFrequency="10s",
        volumePluginDir=f"{folder}/volume-plugins",
        volumeStatsAggPeriod="5s",  # or it is minutes until a volume is seen to be too large
    )


def kube_proxy(network: Network, kubeconfig: Path) -> str:
    return _configuration(
        "kubeproxy.config.k8s.io/v1alpha1",
        "KubeProxyConfiguration",
        clientConnection={"kubeconfig": str(kubeconfig)},
        clusterCIDR=network.pods,
        conntrack={"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"},
        healthzBindAddress=f"{network.node}:{PROXY_HEALTH_PORT}",
        hostnameOverride=NODE_NAME,
        metricsBindAddress="127.0.0.1:10249",
        mode="iptables",
        oomScoreAdj=0,
    )


def _configuration(version: str, kind: str, **fields: Any) -> str:
    return json.dumps({"apiVersion": version, "kind": kind, **fields}, indent=2)  # JSON is YAML
