"""The Kubernetes operator: what a VideoService asks for is made, kept so, and told of.

`api` has the resources, `children` what is made of them, `policies` what is to be done, pure all three; `gather`,
`apply` and `status` talk to the API server, `controller` calls them in turn, and `__main__` is the process.
"""
