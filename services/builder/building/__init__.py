"""Building one app for one architecture: the job, its work folder, its units, its checks."""
