"""What the paper says: experiments, data sets, reports, command line."""
