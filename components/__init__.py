"""Pulumi components, one noun a file: `XArgs` says what it needs, `X` declares the resources.

Components are deaf: they read no configuration, clock, environment, file or network, and export nothing. What decides
how many resources exist is plain Python in their arguments; only values that another resource computes are Inputs.
"""
