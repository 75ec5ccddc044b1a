"""What runs in Cloud Functions, a folder each, and `pack`, which makes the archive that is deployed."""
