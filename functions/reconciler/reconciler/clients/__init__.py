"""Thin clients of what the function talks to, one module each. They carry; they decide nothing."""
