//! Agreement on one bit.
