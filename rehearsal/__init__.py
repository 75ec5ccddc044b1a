"""The rehearsal: runs `__main__.py` in-process with the real SDK and a recording monitor.

No engine, no provider, no cloud and no credentials. It knows what the program would register, not what exists: what a
deployment would do to resources that drifted is the real engine's to say (`scripts/preview --engine`).
"""
