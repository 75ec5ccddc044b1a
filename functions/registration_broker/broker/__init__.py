"""The registration broker: gives each runner VM its one just-in-time configuration, and removes it again."""
