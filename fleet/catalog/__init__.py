"""Dated facts about Google Cloud and GitHub that no configuration should have to repeat.

Each module is one table with its source and the day it was read. A fact that changes is changed here, once.
"""
