"""Builds manifests of CiliumNetworkPolicy objects in namespace shop."""


def cilium_policy(name, app, rules):
    """A policy for the pods of an app. `rules`: the rest of the spec as YAML, indented by two spaces."""
    return f"""\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: {name}, namespace: shop}}
spec:
  endpointSelector: {{matchLabels: {{app: {app}}}}}
{rules}"""


def peers(cluster, app):
    """Selects the pods of an app in a cluster; an empty cluster means, as in Cilium, the policy's own."""
    where = f", io.cilium.k8s.policy.cluster: {cluster}" if cluster else ""
    return f"[{{matchLabels: {{app: {app}{where}}}}}]"


def port(number, protocol="TCP"):
    return f'[{{ports: [{{port: "{number}", protocol: {protocol}}}]}}]'


def policy_file(cluster, name):
    """The name of a policy file of a cluster in the hub."""
    return f"clusters/{cluster}/policy-{name}.yaml"
