"""What a VideoService is made of: each module makes the objects of one part. Pure: from the service to plain dicts."""
