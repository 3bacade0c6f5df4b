"""Labs: hosts, cables, bridges, policy and expectations from one file, with real packets; README.md describes them.

A program of its own, which speaks to the controller over REST as any user does and imports nothing of it.
"""
