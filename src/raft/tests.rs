//! Goldens and properties follow.
