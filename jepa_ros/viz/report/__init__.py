"""`report.html`: a run on one page, in one file that opens from disk in any browser."""
