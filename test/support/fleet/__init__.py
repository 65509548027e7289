"""A fleet of clusters on one machine: namespaces, gateways, pods and what runs in them.

Used by packaging/quickstart and by test/netns. Python's standard library only.
"""
