"""Students as models: built from a spec, initialised from the teacher."""
