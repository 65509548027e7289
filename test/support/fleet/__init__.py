"""A fleet of clusters on one machine: network namespaces, gateways, pods and the processes in them.

Used by packaging/quickstart and by test/netns. Python's standard library only, except kubernetes.py (PyYAML).
"""
