"""What does the work of steps: local processes, Google's operations, GitHub's workflows, and a script for tests."""
