//! A common coin: 256 bits that nobody can predict before enough servers toss it.
