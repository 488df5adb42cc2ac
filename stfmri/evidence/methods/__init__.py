"""What a paper needs beside its scores: methods text, participants, flow, checklists, pictures."""
