"""Media over HTTP: finished videos as one file each, pictures and files, by signed URL and by range."""
