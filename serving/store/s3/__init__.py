"""The store behind the S3 API (MinIO, SeaweedFS, AWS S3 and others): the only room that imports minio."""
