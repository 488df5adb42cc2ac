"""New scans through finished runs: what is asked, what is seen, what is answered, what to doubt."""
