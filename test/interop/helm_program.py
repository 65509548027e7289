"""Helm's own program, built from its Go module."""

import go_program

# The version that the program takes the cluster's for where it is not asked.
VERSION = ("1", "34")
FLAGS = "-s -w" + "".join(f" -X helm.sh/helm/v3/pkg/{where}.k8sVersion{part}={number}"
                          for where in ("lint/rules", "chartutil")
                          for part, number in zip(("Major", "Minor"), VERSION))


def build(into):
    """Builds it; skips the tests without Go or the module."""
    return go_program.build(into, "helm", "helm", "helm.sh/helm/v3/cmd/helm", [f"-ldflags={FLAGS}"])
