"""What a study is: configuration, cohort, splits, runs and predictions. Needs no torch."""
