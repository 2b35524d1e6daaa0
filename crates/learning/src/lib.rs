//! Classification, fingerprints and pattern statistics.
