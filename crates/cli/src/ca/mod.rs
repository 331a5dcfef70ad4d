//! The certification authority on the command line.

pub mod policy;
