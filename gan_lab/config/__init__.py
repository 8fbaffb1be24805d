"""The configuration: its schema, composing it from YAML files and the command line, and checking it. Without torch."""
