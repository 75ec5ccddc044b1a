"""A fleet as it is: gathered from Google, GitHub and the functions' records, and judged by pure functions."""
