"""A package, or `import tests` would find the one that torch-fidelity installs."""
