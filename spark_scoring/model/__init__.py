"""What we score with: a model URI becomes a pinned version, its artifact and its typed inputs and outputs."""
