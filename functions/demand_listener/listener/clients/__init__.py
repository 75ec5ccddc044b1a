"""Google's services as the listener speaks to them: thin, asynchronous, one class a service."""
