"""Policies as manifests: CiliumNetworkPolicy objects of namespace shop, from a few words."""


def cilium_policy(name, app, rules):
    """Selects the pods of an app. `rules`: YAML lines of the spec behind the selector, indented by two."""
    return f"""\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: {name}, namespace: shop}}
spec:
  endpointSelector: {{matchLabels: {{app: {app}}}}}
{rules}"""


def peers(cluster, app):
    """The pods of an app in a cluster; without a cluster, as Cilium has it, only those of the policy's own."""
    where = f", io.cilium.k8s.policy.cluster: {cluster}" if cluster else ""
    return f"[{{matchLabels: {{app: {app}{where}}}}}]"


def port(number, protocol="TCP"):
    return f'[{{ports: [{{port: "{number}", protocol: {protocol}}}]}}]'


def policy_file(cluster, name):
    """Where the policies of a cluster lie in the hub."""
    return f"clusters/{cluster}/policy-{name}.yaml"
