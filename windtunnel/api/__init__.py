"""The Python door: the verbs of the command line as functions, and results as objects with tables and pictures.

``import windtunnel as wt`` offers all of it. Nothing is done here in a way of its own: each function calls what its command calls.
"""
