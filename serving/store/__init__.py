"""The store: the only state that there is. One small interface, over a directory or behind the S3 API."""
