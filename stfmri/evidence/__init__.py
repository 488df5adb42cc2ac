"""From predictions to what a paper prints: metrics, statistics, tables, figures, a report."""
