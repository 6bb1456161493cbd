"""The services of the public `xai-sdk`, as it calls them."""
