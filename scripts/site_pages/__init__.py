"""The documentation as a site: notebooks and the API reference as pages."""
