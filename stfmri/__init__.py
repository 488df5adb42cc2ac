"""The science of the toolkit: shards to predictions to report."""
