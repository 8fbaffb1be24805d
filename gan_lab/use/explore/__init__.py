"""A local web page that explores trained generators."""
