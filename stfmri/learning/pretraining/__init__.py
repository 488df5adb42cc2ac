"""Pre-training on MRI: what is learned (`tasks`), from whom (`subjects`), and the run (`run`)."""
