"""The demand listener: grows every pool that follows jobs to what GitHub says is wanted."""
