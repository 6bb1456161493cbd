"""The stages and the Director as Ray Serve deployments. The only room that imports Ray."""
