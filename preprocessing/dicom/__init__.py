"""DICOM as a hospital exports it, to NIfTI and a cohort table without identifying fields."""
